"""Arrays of words: the same requests whether they come whole or in parts, and what each costs."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from host.plugins.line.arrays import cut_arrays
from host.testing import Harness
from support.bytecodes import counted_bytecodes
from support.frames import request

LIMIT = 64
TURNS = "support.liners:Turns"
OPTIONS = {"line": {"commands": [TURNS], "max_line_bytes": LIMIT}}


words = st.sampled_from([b"PING", b"", b"*1", b"a\r\nb", b"x\r", b"\n", b"y" * LIMIT])
requests = st.one_of(
    st.lists(words | st.binary(max_size=9), max_size=4).map(lambda each: request(*each)),
    st.sampled_from([b"PING\r\n", b"one\n", b"*0\r\n", b"*01\r\n$2\r\nab\r\n", b"*1\n$02\nab\r\n"]),
    st.sampled_from([b"*1\r\n$2\r\nab\n", b"*1\r\n$2\r\nabc\r\n", b"*1\r\n:2\r\n", b"*x\r\n"]),
)


@pytest.fixture(scope="module")
def shared():
    """One harness for all examples of the property tests."""
    with Harness("line", TURNS, options=OPTIONS) as harness:
        yield harness


@example(stream=request(b"PING") + b"one\n", size=7)
@given(stream=st.lists(requests, max_size=8).map(b"".join), size=st.integers(1, 40))
def test_the_same_lines_and_replies_whole_in_pieces_and_byte_by_byte(shared, stream, size):
    outcomes = []
    for step in (len(stream) + 1, size, 1):
        shared.plugin(TURNS).lines.clear()
        connection = shared.connect()
        for at in range(0, len(stream), step):
            if connection.reason is None:
                connection.feed(stream[at : at + step])
        replies = connection.take()  # first: some lines may be left to a later turn
        outcomes.append((shared.plugin(TURNS).lines[:], replies, connection.reason))
        connection.reset()
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_the_limit_holds_for_arrays_that_are_alike():
    fits, long = request(b"a" * 30, b"b" * 33), request(b"a" * 30, b"b" * 34)
    assert len(cut_arrays(fits * 3, LIMIT)[0]) == 3
    assert len(cut_arrays(fits + fits + long, LIMIT)[0]) == 2


def test_arrays_are_cut_up_to_the_first_that_is_odd_or_unfinished():
    whole = request(b"a") + request(b"b", b"c d")
    for rest in (b"", b"*", b"*1\r\n$1\r\nx", b"PING\r\n", request(b"x\r\ny"), request(b"x" * 65)):
        lines, requests, places, pieces = cut_arrays(whole + rest, LIMIT)
        assert lines == [b"a", b"b c d"]
        assert requests == [[b"a"], [b"b", b"c d"]]
        assert b"\r\n".join(pieces[places[1] :]) == request(b"b", b"c d") + rest
        assert b"\r\n".join(pieces[places[2] :]) == rest


KINDS = {
    "lines": [b"one\r\n"],
    "arrays": [request(b"one")],
    "arrays of words": [request(b"one", b"two", b"three")],
    "arrays that hold ends of lines": [request(b"a\r\nb")],
    "blocks": [b"BLOCK 3\r\nabc"],
    "all of them": [b"one\r\n", request(b"one"), b"BLOCK 3\r\nabc", request(b"a\r\nb", b"c")],
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_costs_the_same_among_thousands_as_among_sixteen(shared, kind):
    # Time stands still: on a busy machine lines would count as slow.
    shared.plugin("line")._share.clock = lambda: 1000.0

    def steps(count):
        connection = shared.connect()
        stream = b"".join(KINDS[kind]) * (count // len(KINDS[kind]))
        with counted_bytecodes() as counts:
            connection.feed(stream)
        connection.reset()
        return counts.total / count

    steps(16)
    assert steps(1600) < 1.2 * steps(16)
