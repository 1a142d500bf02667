"""Nicks and rooms: short, plain, and the same in any case."""

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
