"""Nicks and rooms: short, plain, and the same in any case."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.plugins.chat.names import fold, nick_of, room_of
from host.plugins.encoding import harmless


@given(st.text(max_size=30), st.integers(1, 20))
def test_names_are_short_and_plain_and_found_again_in_any_case(given_name, limit):
    nick, problem = nick_of(given_name, limit)
    if not problem:
        assert 1 <= len(nick) <= limit
        assert len(fold(nick).encode()) <= 4 * limit
        assert harmless(nick) == nick
        assert not any(char.isspace() or char in "[]:#*/,()" for char in nick)
        for other in (nick.upper(), nick.lower(), nick.swapcase()):
            assert fold(other) == fold(nick) or fold(fold(other)) == fold(fold(nick))
    room, problem = room_of("#" + given_name, limit)
    if not problem:
        assert room_of(room, limit) == (room, "")
        assert 2 <= len(room) <= limit + 1


def test_names_of_many_scripts():
    for name in ("ada", "Jürgen", "北京", "Ольга", "हिन्दी", "علي", "a-b_c.d", "_x", "4711"):
        assert nick_of(name, 20)[1] == "", name
        assert room_of(f"#{name}", 20)[1] == "", name
    for name in ("", " ", "a b", "-a", "a:b", "#a", "a\u200db", "a\u202eb", "\u0301a", "\u1160"):
        assert nick_of(name, 20)[1], name
    assert nick_of("\ufdfa", 2)[1], "18 characters once it is folded"


@pytest.mark.parametrize(
    "name",
    [
        "東京タワー",
        "ひらがな漢字",
        "한국漢字",
        "user1",
        "กำลัง",
        "Ünïcode",
        "علي٤٢",
        "রবি৪",
        "รัก๙",
        "東京2",
    ],
)
def test_letters_that_are_written_together_make_a_name(name):
    assert nick_of(name, 20)[1] == ""


@pytest.mark.parametrize(
    "name",
    [
        "\u0430da",  # a Cyrillic a before Latin letters
        "\u0391da",  # a Greek Alpha
        "ad\u0105\u0328\u0328",  # marks that no letter has
        "z\u0335a",  # a stroke through the letter before
        "a\u20dd",  # a circle around it
        "a\ufe0f",  # a glyph chosen
        "a\u2060b",  # nothing to be seen
        "a\u00adb",  # a hyphen that is not shown
        "bo\u09ea",  # a Bengali four after Latin letters
        "\u09b0\u0669",  # an Arabic nine after a Bengali letter
        "\u09b0\u09ea8",  # digits of two kinds
        "a\U000e0061",  # a tag
    ],
)
def test_names_that_look_like_others_are_refused(name):
    assert nick_of(name, 20)[1]
    assert room_of(f"#{name}", 20)[1]
