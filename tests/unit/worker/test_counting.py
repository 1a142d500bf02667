"""Ends of connections and turns are counted where that is asked for, each in its place."""

from dataclasses import replace

import pytest

from host.interfaces import CloseReason, Listener
from host.ipc.scoreboard import (
    BYTES_IN,
    BYTES_OUT,
    CLOSED,
    CURRENT_CALL,
    TURN_BUCKETS,
    TURN_LASTED,
    TURN_SUM,
    TURNS,
    Scoreboard,
)
from host.worker.counting import counting_bytes, counting_ends, counting_turns
from support.connections import Worker


@pytest.fixture
def row():
    board = Scoreboard(2)
    yield board.use(0, 0)
    board.close()


def test_each_end_is_counted_by_its_reason_and_told(row):
    told = []
    ended = counting_ends(lambda *end: told.append(end), row, 1)
    for number, reason in enumerate(CloseReason):
        for _ in range(number + 1):
            ended(number, reason)
    counts = row.listener_words(1)[CLOSED:]
    assert counts == [number + 1 for number in range(len(CloseReason))]
    assert not any(row.listener_words(0))
    assert told[:2] == [(0, CloseReason.PEER_FINISHED), (1, CloseReason.PLUGIN)]


def test_turns_are_counted_by_how_long_they_took(row):
    lasted = iter([0, 1023, 1024, 1_000_000, 2**33 - 1, 2**33, 2**40])

    def end():
        row.put(TURN_LASTED, next(lasted))

    slow: list[int] = []
    ended = counting_turns(end, row, lambda: 100, 2**33 / 1e9, slow.append)
    for _ in range(7):
        ended()
    counts = row.words()[TURNS:TURN_SUM]
    assert len(counts) == TURN_BUCKETS
    assert {number: count for number, count in enumerate(counts) if count} == {
        0: 2,
        1: 1,
        10: 1,
        23: 1,
        24: 2,
    }
    assert len(slow) == 1
    assert row.get(TURN_SUM) == 1023 + 1024 + 1_000_000 + 2**33 - 1 + 2**33 + 2**40


@pytest.mark.parametrize(("nanoseconds", "told"), [(2**40, 77), (1, 0)])
def test_a_slow_turn_is_told_with_its_last_call_unless_its_end_took_most(row, nanoseconds, told):
    def end():  # which takes longer than a nanosecond, and less than 2**40 of them
        row.put(TURN_LASTED, nanoseconds)
        row.put(CURRENT_CALL, 0)

    slow = []
    row.put(CURRENT_CALL, 77)
    counting_turns(end, row, lambda: 100, 0.0, slow.append)()
    assert slow == [told]


def test_what_changes_between_turns_is_called_when_it_has_asked_for_it(row):
    gaps, called, turns = iter([3, 1, 2, 100]), [], 0

    def change():
        called.append(turns)
        return next(gaps)

    ended = counting_turns(lambda: None, row, change, 1.0, called.append)
    for turns in range(1, 11):  # noqa: B007 - `change` looks at it
        ended()
    assert called == [1, 4, 5, 7]


def test_bytes_are_counted_with_each_call(row):
    calls = {
        "read": lambda fd, size: b"x" * size,
        "read_into": lambda fd, buffers: sum(map(len, buffers)),
        "write": lambda fd, data: len(data) - 1,
        "write_pieces": lambda fd, pieces: sum(map(len, pieces)),
        "send_file": lambda fd, file, offset, count: count,
    }
    worker = Worker()
    plain = replace(worker.context, listener=Listener(1, "tcp://127.0.0.1:1", "echo"), **calls)
    context = counting_bytes(row, plain)
    assert context.read(0, 3) == b"xxx"
    assert context.read_into(0, [bytearray(10)]) == 10
    assert context.write(0, b"12345") == 4
    assert context.write_pieces(0, [memoryview(b"12"), memoryview(b"3")]) == 3
    assert context.send_file(0, 1, 2, 100) == 100
    words = row.listener_words(1)
    assert (words[BYTES_IN], words[BYTES_OUT]) == (13, 107)
    assert row.listener_words(0)[BYTES_IN] == 0


def test_a_call_that_fails_counts_nothing(row):
    def blocked(*_):
        raise BlockingIOError

    names = ("read", "read_into", "write", "write_pieces", "send_file")
    worker = Worker()
    plain = replace(worker.context, **dict.fromkeys(names, blocked))
    context = counting_bytes(row, plain)
    given = ((0, 1), (0, []), (0, b"1"), (0, []), (0, 0, 0, 0))
    for name, arguments in zip(names, given, strict=True):
        with pytest.raises(BlockingIOError):
            getattr(context, name)(*arguments)
    assert not any(row.listener_words(0))
