"""Telnet's bytes, names, escape sequences, token buckets: for any input, however it is cut."""

import unicodedata
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from host.plugins.chat.names import fold, nick_of, room_of
from host.plugins.chat.telnet import Telnet
from host.plugins.chat.users import Bucket
from host.plugins.encoding import harmless
from host.plugins.framing import FrameTooLongError, LineFramer

IAC, SB, SE = b"\xff", b"\xfa", b"\xf0"
PLAIN = st.binary(max_size=8).map(lambda data: data.replace(IAC, b"").replace(b"\0", b""))
OPTION = st.integers(0, 255).map(lambda number: bytes([number]))
BETWEEN = st.binary(max_size=20).map(lambda data: data.replace(IAC, IAC + IAC))


def cut(data, places):
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def lines(pieces):
    """What telnet filter and line framer make of a stream: its lines, and what is answered."""
    telnet, framer, found, answered = Telnet(), LineFramer(100), [], b""
    for piece in pieces:
        text, reply = telnet.feed(piece)
        answered += reply
        try:
            found += framer.feed(text)
        except FrameTooLongError:
            found.append(None)
    return found, framer.take(), answered


@given(
    st.lists(
        st.one_of(
            PLAIN.map(lambda text: (text, text, b"")),
            st.just((IAC + IAC, IAC, b"")),
            OPTION.map(lambda option: (IAC + b"\xfd" + option, b"", IAC + b"\xfc" + option)),
            OPTION.map(lambda option: (IAC + b"\xfb" + option, b"", IAC + b"\xfe" + option)),
            OPTION.map(lambda option: (IAC + b"\xfc" + option, b"", b"")),
            OPTION.map(lambda option: (IAC + b"\xfe" + option, b"", b"")),
            BETWEEN.map(lambda inside: (IAC + SB + inside + IAC + SE, b"", b"")),
            st.just((IAC + b"\xf6", b"", b"[yes]\r\n")),
            st.just((IAC + b"\xf4", b"", b"")),
        )
    ),
    st.lists(st.integers(0, 1000), max_size=8),
)
def test_text_is_what_is_left_and_requests_are_refused(parts, places):
    telnet, text, reply = Telnet(), b"", b""
    for piece in cut(b"".join(sent for sent, _, _ in parts), places):
        some, answer = telnet.feed(piece)
        text, reply = text + some, reply + answer
    assert text == b"".join(plain for _, plain, _ in parts)
    assert reply == b"".join(answer for _, _, answer in parts)


@given(st.binary(max_size=200), st.lists(st.integers(0, 1000), max_size=8))
def test_any_bytes_give_the_same_lines_however_they_are_cut(data, places):
    assert lines(cut(data, places)) == lines([data]) == lines(bytes([byte]) for byte in data)


@given(st.lists(st.text("abc", max_size=5)), st.sampled_from([b"\n", b"\r\n", b"\r\0"]))
def test_all_three_line_ends(words, end):
    data = b"".join(word.encode() + end for word in words)
    assert lines([data])[0] == [word.encode() for word in words]
    assert lines(bytes([byte]) for byte in data)[0] == [word.encode() for word in words]


def test_a_subnegotiation_without_end_is_given_up():
    telnet = Telnet()
    telnet.feed(IAC + SB)
    for _ in range(20):
        telnet.feed(b"x" * 100)
    assert telnet.feed(b"hello\n") == (b"hello\n", b"")


def test_what_is_no_telnet_at_all_does_not_swallow_line_ends():
    assert lines([b"a\xff\nb\n"])[0] == [b"a", b"b"]


@given(st.text())
def test_harmless_text_has_nothing_that_acts(text):
    shown = harmless(text)
    assert len(shown) <= len(text)
    for char in shown:
        assert unicodedata.category(char) not in ("Cc", "Zl", "Zp")
        assert unicodedata.bidirectional(char) not in (
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
        )  # fmt: skip
    assert harmless(shown) == shown


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


@given(st.floats(0.1, 100), st.integers(1, 20), st.lists(st.floats(0, 3), max_size=60))
def test_a_bucket_gives_no_more_than_burst_and_rate(rate, burst, pauses):
    now, bucket, taken = 100.0, Bucket(rate, burst, 100.0), 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
        assert taken <= burst + (now - 100.0) * rate + 1e-6


def test_a_bucket_is_full_again_after_a_while():
    bucket = Bucket(2.0, 3, 0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(0.5), bucket.take(0.5)] == [True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
