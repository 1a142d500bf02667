"""Ends of connections and turns are counted where that is asked for, each in its place."""

import pytest

from host.interfaces import CloseReason
from host.ipc.scoreboard import CLOSED, TURN_BUCKETS, TURN_LASTED, TURN_SUM, TURNS, Scoreboard
from host.worker.counting import counting_ends, counting_turns


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

    ended = counting_turns(end, row, lambda: 100)
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
    assert row.get(TURN_SUM) == 1023 + 1024 + 1_000_000 + 2**33 - 1 + 2**33 + 2**40


def test_what_changes_between_turns_is_called_when_it_has_asked_for_it(row):
    gaps, called, turns = iter([3, 1, 2, 100]), [], 0

    def change():
        called.append(turns)
        return next(gaps)

    ended = counting_turns(lambda: None, row, change)
    for turns in range(1, 11):  # noqa: B007 - `change` looks at it
        ended()
    assert called == [1, 4, 5, 7]
