"""What framers cost: the bytes that they handle and the steps of the interpreter, not time."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.plugins.framing import (
    DelimiterFramer,
    HeaderFramer,
    LengthFramer,
    LineFramer,
    NetstringFramer,
    RespFramer,
    VarintFramer,
)
from support.bytecodes import counted_bytecodes
from support.frames import four_bytes, headed, request


class Counted(bytearray):
    """A buffer that counts how many of its bytes are looked at, copied or moved."""

    work = 0

    def __getitem__(self, key):
        part = super().__getitem__(key)
        if isinstance(key, slice):
            self.work += len(part)
        return part

    def __setitem__(self, key, data):
        self.work += len(self) + len(data)
        super().__setitem__(key, data)

    def __delitem__(self, key):
        """Count what is behind: a bytearray moves it at times (CPython, bytearrayobject.c)."""
        super().__delitem__(key)
        self.work += len(self)

    def __iadd__(self, data):
        self.work += len(data)
        return super().__iadd__(data)

    def find(self, what, start=0, end=None):
        end = len(self) if end is None else min(end, len(self))
        place = super().find(what, start, end)
        self.work += (place if place >= 0 else end) - start
        return place

    def rfind(self, what, start, end):
        place = super().rfind(what, start, end)
        self.work += min(end, len(self)) - place
        return place


class Shrinking(Counted):
    """The same, but it knows when what is behind is moved: when the memory is given back."""

    def __delitem__(self, key):
        before, size = self.work, sys.getsizeof(self)
        super().__delitem__(key)
        if sys.getsizeof(self) == size:
            self.work = before


def counted(framer):
    """Return a new framer, and the buffer in which it keeps what was fed."""
    if isinstance(framer, LineFramer):
        framer.uncut = buffer = Counted()
    else:
        framer._data = buffer = Shrinking()
    return framer, buffer


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_a_long_line_in_small_pieces_takes_linear_time(piece):
    size = 20_000
    framer, buffer = counted(LineFramer(size + piece))
    for _ in range(0, size, piece):
        assert list(framer.feed(b"x" * piece)) == []
    assert len(next(framer.feed(b"\n"))) >= size
    assert buffer.work < 6 * size


def test_many_lines_at_once_take_linear_time():
    data = b"PING\r\n" * 20_000
    framer, buffer = counted(LineFramer())
    assert len(list(framer.feed(data))) == 20_000
    assert buffer.work < 6 * len(data)


REQUEST = b"set\r\n123\r\n"


def block_after_a_line(framer):
    assert next(framer.feed(b"")) == b"set"
    assert framer.take(5) == b"123\r\n"


def block_byte_by_byte(framer):
    assert next(framer.feed(b"")) == b"set"
    assert b"".join(framer.take(1) for _ in range(5)) == b"123\r\n"


def more_taken_and_the_rest_given_back(framer):
    assert next(framer.feed(b"")) == b"set"
    piece = framer.take(100)
    assert piece[:5] == b"123\r\n"
    framer.unread(piece[5:])


def many_lines_then_a_block(framer):
    for _ in range(20):
        assert next(framer.feed(b"")) == b"set"
        assert next(framer.feed(b"")) == b"123"
    block_after_a_line(framer)


def asked_what_waits(framer):
    assert framer.waiting >= len(REQUEST)
    block_after_a_line(framer)


TURNS = {
    block_after_a_line: 1,
    block_byte_by_byte: 1,
    more_taken_and_the_rest_given_back: 1,
    many_lines_then_a_block: 21,
    asked_what_waits: 1,
}
"""What can be done with the framer, and how many requests each takes."""


@pytest.mark.parametrize(("turn", "size"), TURNS.items())
@pytest.mark.parametrize("piece", ["whole", "requests"])
def test_lines_and_blocks_in_turn_take_linear_time(turn, size, piece):
    """What is counted: the interpreter's steps and the bytes that are handled, per request."""

    def work(requests):
        framer, buffer = counted(LineFramer())
        pieces = [REQUEST * requests] if piece == "whole" else [REQUEST] * requests
        with counted_bytecodes() as steps:
            for part in pieces:
                framer.feed(part)
            for _ in range(requests // size):
                turn(framer)
        assert framer.take() == b""
        return steps.total / requests, buffer.work / requests

    few_steps, few_bytes = work(210)
    steps, handled = work(210 * 6)
    assert steps < 1.1 * few_steps
    assert handled < 1.5 * few_bytes


ROUND = st.lists(
    st.tuples(st.sampled_from([0, 1, 5, 60, 300]), st.booleans()), min_size=3, max_size=8
)
"""Sizes of messages, and whether a block of as many bytes follows."""
FRAMED = {
    "line": (LineFramer, lambda size: b"x" * size + b"\r\n"),
    "length": (lambda: LengthFramer(2), lambda size: LengthFramer(2).frame(b"x" * size)),
    "netstring": (NetstringFramer, lambda size: NetstringFramer().frame(b"x" * size)),
    "varint": (VarintFramer, lambda size: VarintFramer().frame(b"x" * size)),
    "header": (lambda: HeaderFramer(4, four_bytes), lambda size: headed(b"x" * size)),
    "delimiter": (
        lambda: DelimiterFramer(b"\r\n.\r\n"),
        lambda size: DelimiterFramer(b"\r\n.\r\n").frame(b"x" * size),
    ),
    "resp": (RespFramer, lambda size: request(b"x" * size)),
    "resp line": (RespFramer, lambda size: b"x" * (size + 1) + b"\n"),
}


@pytest.mark.parametrize("kind", FRAMED)
@pytest.mark.parametrize("piece", [None, 1000, 50])
@settings(max_examples=4, deadline=None)
@given(plan=ROUND)
def test_messages_and_blocks_of_any_sizes_take_linear_time(kind, piece, plan):
    """What is counted: the interpreter's steps and the bytes that are handled, per round.

    After some messages comes a block of as many bytes. All come in one piece, in pieces that hold
    several of them, or in pieces that are shorter than some.
    """
    make, frame = FRAMED[kind]
    data = b"".join(frame(size) + b"y" * (size * block) for size, block in plan)

    def work(rounds):
        framer, buffer = counted(make())
        stream = data * rounds
        step = piece or len(stream)
        pieces = iter([stream[at : at + step] for at in range(0, len(stream), step)])
        with counted_bytecodes() as steps:
            for size, block in plan * rounds:
                while (message := next(framer.feed(b""), None)) is None:
                    framer.feed(next(pieces))
                missing = size * block
                while missing:
                    taken = framer.take(missing)
                    missing -= len(taken)
                    if missing:
                        framer.feed(next(pieces))
        assert sum(map(len, message)) >= size if kind.startswith("resp") else len(message) >= size
        assert framer.take() == b""
        return steps.total / rounds, buffer.work / rounds

    few = 8 + 2048 // len(data)  # as much as the line framer cuts at once
    few_steps, few_bytes = work(few)
    steps, handled = work(4 * few)
    # Not the same: pieces end at other places of later rounds. Square would be four times.
    assert steps < 1.5 * few_steps
    assert handled < 1.5 * few_bytes


KINDS = {
    "arrays": lambda number: request(b"SET", b"key:%d" % number, b"value"),
    "lines": lambda _: b"PING\r\n",
    "odd lines": lambda _: b"PING\n",
    "odd words": lambda _: request(b"SET", b"a\r\nb", b"c\r\nd"),
    "mixed": lambda number: [request(b"GET", b"k"), b"PING\n", b"PING\r\n"][number % 3],
    "large": lambda _: request(b"SET", b"k", bytes(3000)),
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_requests_in_one_piece_cost_what_a_few_cost(make):
    def work(requests):
        framer, buffer = RespFramer(), Shrinking()
        framer._data = buffer
        data = b"".join(map(make, range(requests)))
        found = 0
        with counted_bytecodes() as steps:
            while batch := framer.cut(data):
                found += len(batch)
                data = b""
        assert found == requests
        return steps.total / requests, buffer.work / requests

    work(48)  # CPython 3.13 counts the bytecodes of a function from its second call on
    few_steps, few_bytes = work(48)
    steps, handled = work(1200)
    assert steps < 1.5 * few_steps
    assert handled < 1.5 * max(few_bytes, 200)
