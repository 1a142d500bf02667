"""Telnet's commands are taken out of any input and refused, however it is cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from host.plugins.chat.telnet import Telnet
from host.plugins.framing import FrameTooLongError, LineFramer
from support.parley import trio

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


def test_telnet_commands_are_taken_out_and_refused():
    parley, ada, bob, _ = trio()
    for byte in b"\xff\xfd\x01\xff\xfb\x18hel\xff\xfa\x18\x00xterm\xff\xf0lo\r\0":
        ada.feed(bytes([byte]))
    parley.settle(0)
    assert ada.received == b"\xff\xfc\x01\xff\xfe\x18[#lobby] ada: hello\r\n"
    assert bob.lines == ["[#lobby] ada: hello"]
