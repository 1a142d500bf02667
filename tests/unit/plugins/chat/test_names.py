"""Nicks and rooms: short, plain, and the same in any case."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.plugins.chat import lookalikes
from host.plugins.chat.names import fold, key_of, nick_of, room_of
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
        "二〇二",
        "佐々木",
        "Đặng",
        "Þór",
        "Łukasz",
        "Ɗanladi",  # Hausa
        "Kɔfi",  # Akan
        "Əliyev",
        "İsmail",
        "Yıldız",
        "Ёлка",
        "Қазақ",
        "Ωμέγα",
        "தமிழ்",
        "김철수",
        "ኃይሌ",
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
        "\u1d00dmin",  # a small capital A
        "adm\u026an",  # a small capital I
        "\u0251dmin",  # an alpha of phonetics
        "admi\u057f",  # an Armenian letter
        "bi\u01c0\u01c0",  # clicks
        "pete\u0280",  # a small capital R
        "\u01a6on",  # what is capital to it
        "\u0138im",  # a kra
        "dor\ua793",  # a letter of old manuscripts
        "\u1d26\u03b1",  # a small capital Gamma
        "r\u3007\u3007t",  # Chinese zeros
        "\u0639\u0640\u0644\u064a",  # a longer line within an Arabic word
        "\u0e01\u0e49\u0e49",  # the same mark twice
    ],
)
def test_names_that_look_like_others_are_refused(name):
    assert nick_of(name, 20)[1]
    assert room_of(f"#{name}", 20)[1]


@pytest.mark.parametrize(
    "name",
    [
        "x\u00b2",  # a superscript
        "\u1c80\u0430",  # a letter of old Slavonic manuscripts
    ],
)
def test_a_nick_is_shown_as_it_is_given_and_a_room_as_it_is_folded(name):
    assert nick_of(name, 20)[1]
    assert room_of(f"#{name}", 20)[1] == ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("capa", "Сара"),
        ("bepa", "ВЕРА"),
        ("bepa", "вера"),
        ("kot", "ΚΟΤ"),
        ("ADMIN", "ꓮꓓꓟꓲꓠ"),
        ("DRAW", "ᎠᎡᎪᎳ"),
        ("admin", "adm\u0131n"),
        ("ismail", "İsmail"),
    ],
)
def test_only_one_of_two_that_look_the_same_can_be_had(one, other):
    assert nick_of(one, 20)[1] == nick_of(other, 20)[1] == ""
    assert key_of(one) == key_of(other)


@pytest.mark.parametrize(("one", "other"), [("mapa", "Мария"), ("bill", "biil"), ("a1", "а1я")])
def test_names_that_can_be_told_from_each_other_are_both_there(one, other):
    assert key_of(one) != key_of(other)


def test_each_letter_has_one_that_it_looks_like():
    for script, table in lookalikes._SEEN_AS.items():
        assert all(unicodedata.name(chr(char)).startswith(script) for char in table)
        assert all(fold(chr(char)) == chr(char) for char in table)
        assert all(chr(char).isascii() for char in table.values())
