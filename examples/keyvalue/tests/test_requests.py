from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefork_keyvalue.replies import BAD_CHUNK, RefusedError
from prefork_keyvalue.requests import (
    MAX_COMMAND_BYTES,
    MAX_UNFINISHED_BYTES,
    Requests,
    TooLongError,
)

LONGEST = 100_000


def taken(requests):
    """Take all that is whole: a line `v N` has a value of N bytes, a line `s N` N to be skipped."""
    while (line := requests.next_line()) is not None:
        command, _, count = line.partition(b" ")
        if command == b"s":
            requests.skip(int(count))
            yield line
        elif command == b"v":
            try:
                value = requests.take_value(int(count))
            except RefusedError as refused:
                value = refused.reply
            if value is not None:
                yield line, value
        else:
            yield line


def fed(requests, data, step):
    """Feed so many bytes at a time of what is no whole line."""
    for start in range(0, len(data), step):
        requests.feed(data[start : start + step])
        assert requests.next_line() is None


any_bytes = st.binary(max_size=20)
plain_lines = st.binary(max_size=20).map(lambda line: b"x" + line.replace(b"\n", b"-") + b"\n")
values = any_bytes.map(lambda value: b"v %d\r\n%b\r\n" % (len(value), value))
bad_values = any_bytes.map(lambda value: b"v %d\r\n%b--" % (len(value), value))
skipped = any_bytes.map(lambda value: b"s %d\n%b" % (len(value), value))
streams = st.lists(st.one_of(plain_lines, values, bad_values, skipped), max_size=10)


@given(streams, st.lists(st.integers(0, 400), max_size=8))
def test_whatever_the_cuts_the_same_is_taken(pieces, cuts):
    data = b"".join(pieces)
    whole = Requests(LONGEST)
    whole.feed(data)
    expected = list(taken(whole))
    assert len(expected) == len(pieces)
    cut, got = Requests(LONGEST), []
    places = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    for start, end in pairwise(places):
        cut.feed(data[start:end])
        got += taken(cut)
    assert got == expected


def test_what_waits_for_its_turn_is_not_lost():
    requests = Requests(LONGEST)
    requests.feed(b"a\r\nb\r\nc")
    assert requests.next_line() == b"a"
    requests.feed(b"d\n")
    assert [requests.next_line() for _ in range(3)] == [b"b", b"cd", None]


def test_a_value_without_its_end_is_taken_and_told():
    requests = Requests(LONGEST)
    requests.feed(b"v\r\nab-\nnext\r\n")
    assert requests.next_line() == b"v"
    with pytest.raises(RefusedError) as refused:
        requests.take_value(2)
    assert refused.value.reply == BAD_CHUNK
    assert requests.next_line() == b"next"


@pytest.mark.parametrize(
    ("data", "is_get"),
    [
        (b"x" * (MAX_UNFINISHED_BYTES + 1), False),
        (b"getx " + b"x" * MAX_UNFINISHED_BYTES, False),
        (b"x" * (MAX_COMMAND_BYTES + 1) + b"\n", False),
        (b"get " + b"x" * LONGEST, True),
        (b"  gets " + b"x" * LONGEST + b"\n", True),
    ],
)
@pytest.mark.parametrize("step", [1, 1000, 2_000_000])
def test_lines_that_are_too_long(data, is_get, step):
    with pytest.raises(TooLongError) as error:
        fed(Requests(LONGEST), data, step)
    assert error.value.is_get is is_get


@pytest.mark.parametrize(
    "line", [b"x" * MAX_COMMAND_BYTES, b"get " + b"k " * 40_000, b" gets " + b"k " * 40_000]
)
def test_lines_that_are_not(line):
    requests = Requests(LONGEST)
    requests.feed(line + b"\n")
    assert requests.next_line() == line


def test_a_get_may_come_slowly():
    requests = Requests(LONGEST)
    for _ in range(1000):
        requests.feed(b"get " * 20)
        assert requests.next_line() is None
    requests.feed(b"\n")
    assert requests.next_line() == b"get " * 20_000
