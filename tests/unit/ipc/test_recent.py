"""The flight recorder: what is written is read, whole or not at all."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.errors import SlowCallError
from host.hookspecs import on_datagram, on_readable
from host.interfaces import CloseReason, Listener
from host.ipc.current_call import CALLBACK, kind_of, pack_call
from host.ipc.recent import (
    MOST_EVENTS,
    REASONS,
    SUPERVISOR_RECORDS,
    Kind,
    RecentWriter,
    recent_events,
    recent_lines,
)
from host.ipc.scoreboard import DENIED, RECENT_WORDS, RECORD_BYTES, WORD, Scoreboard
from host.text import printable

LISTENERS = (Listener(0, "tcp://127.0.0.1:7", "echo"),)
WORDS = RECORD_BYTES // WORD
LAST_CALL = "; the last call in it was"


@pytest.fixture
def row():
    board = Scoreboard(1)
    yield board.row(3)
    board.close()


def texts(row):
    return [each.describe(LISTENERS) for each in recent_events(row)]


def test_each_kind_is_told_in_words(row):
    clock = SimpleNamespace(now=1.0)
    writer = RecentWriter(row, clock, 81)
    ended = REASONS.index(CloseReason.PLUGIN)
    writer.note(Kind.STARTED)
    writer.note(Kind.ACCEPTED, 7)
    writer.note(Kind.CLOSED, 7, 0, ended)
    writer.note(Kind.REFUSED, 0, 0, DENIED)
    writer.note_failure("echo", "on_readable", KeyError(), ())
    writer.note_failure("\x1b[2J" + "x" * 99, "a timer", SlowCallError(2.0, 1.0), ())
    assert texts(row) == [
        "started",
        "connection 81-7 accepted on tcp://127.0.0.1:7",
        f"connection 81-7 on tcp://127.0.0.1:7 ended: {CloseReason.PLUGIN.value}",
        "a connection on tcp://127.0.0.1:7 refused: denied",
        "on_readable of plugin echo failed",
        f"a callback of plugin \\x1b[2J{'x' * 20} took too long",
    ]


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_words_for_whatever_else_is_in_the_record(row, kind):
    RecentWriter(row, SimpleNamespace(now=1.0), 81).note(kind, 1, 60_000, 255, b"\xff")
    [event] = recent_events(row)
    assert event.describe(LISTENERS)


def test_the_last_ones_of_worker_and_supervisor_are_told_in_their_order(row):
    clock = SimpleNamespace(now=0.0)
    writer = RecentWriter(row, clock, 81)
    other = RecentWriter(row, clock, 81, by_supervisor=True)
    for number in range(1000):
        clock.now += 1
        writer.note(Kind.ACCEPTED, number)
        if number % 50 == 49:
            clock.now += 1
            other.note(Kind.SUSPENDED)
    found = recent_events(row)
    assert [each.time for each in found] == sorted(each.time for each in found)
    assert (len(found), found[-1].kind) == (MOST_EVENTS, Kind.SUSPENDED)
    assert found[-2].serial == 999


def test_the_next_worker_of_the_row_goes_on_behind_the_last_one(row):
    clock = SimpleNamespace(now=1.0)
    first = RecentWriter(row, clock, 81)
    for _ in range(100):
        first.note(Kind.ACCEPTED)
    clock.now = 2.0
    RecentWriter(row, clock, 82).note(Kind.STARTED)
    found = recent_events(row)
    assert [each.pid for each in found] == [81] * 63 + [82]
    assert found[-1].number == 101
    said = recent_lines(found, LISTENERS, 82, 2.5, 40)
    assert said == "its last events:\n     0.500 s before: started"
    assert recent_lines(found, LISTENERS, 83, 2.5, 40) == ""
    assert len(recent_lines(found, LISTENERS, 81, 2.5, 40).splitlines()) == 40


@pytest.mark.parametrize("end", [0, WORDS - 1])
def test_a_record_that_is_being_written_is_left_out(row, end):
    """Its writer was killed in the middle: only one of the two numbers is new."""
    writer = RecentWriter(row, SimpleNamespace(now=1.0), 81)
    for serial in range(1, 65):
        writer.note(Kind.ACCEPTED, serial)
    row.cells[row.recent + WORDS * 1 + end] = 65
    assert [each.serial for each in recent_events(row)] == list(range(2, 65))


def test_no_row_writes_into_the_next_one():
    board = Scoreboard(2)
    before, row, after = (board.row(number) for number in range(3))
    for by_supervisor in (False, True):
        writer = RecentWriter(row, SimpleNamespace(now=1.0), 81, by_supervisor=by_supervisor)
        for _ in range(200):
            writer.note(Kind.STARTED)
    for other in (before, after):
        assert recent_events(other) == []
        assert not any(other.words())
    assert not any(row.words())
    assert not any(row.listener_words(1))
    assert not any(row.cells[row.doing_place // WORD : row.recent])
    assert sum(bool(row.cells[row.recent + n * WORDS]) for n in range(80)) == 80
    assert SUPERVISOR_RECORDS + MOST_EVENTS == 80
    board.close()


@given(st.binary(min_size=RECORD_BYTES * 4, max_size=RECORD_BYTES * 4))
def test_rubbish_of_a_worker_does_no_harm(data):
    board = Scoreboard(1)
    row = board.row(0)
    words = memoryview(data).cast("Q")
    for word in range(RECENT_WORDS):
        row.cells[row.recent + word] = words[word % len(words)]
    for place in range(64):  # records that are whole, with rubbish inside
        row.cells[row.recent + place * WORDS] = place + 64
        row.cells[row.recent + place * WORDS + WORDS - 1] = place + 64
    assert recent_lines(recent_events(row), LISTENERS, 1, 1.0, 40).count("\n") < 40
    for each in recent_events(row):
        said = each.describe(LISTENERS)
        assert said == printable(said)  # nothing that a terminal acts on
    board.close()


def test_a_slow_call_is_told_with_its_plugin_if_that_is_known(row):
    writer = RecentWriter(row, SimpleNamespace(now=1.0), 7)
    writer.note_slow("echo", "on_readable")
    writer.note_slow("", "callbacks")
    assert texts(row) == [
        "on_readable of plugin echo took too long",
        "a callback took too long",
    ]


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (0, ""),
        (
            pack_call(kind_of(on_readable), 9, 0),
            "; the last call in it was on_readable for connection 7-9",
        ),
        (pack_call(kind_of(on_datagram), 9, 0), "; the last call in it was on_datagram"),
        (pack_call(CALLBACK, listener=5), "; the last call in it was a callback"),
    ],
)
def test_a_slow_turn_is_told_with_its_last_call_unless_that_is_known_to_be_slow(row, word, text):
    clock = SimpleNamespace(now=5.0)
    writer = RecentWriter(row, clock, 7)
    writer.note_slow("p", "on_readable")
    writer.note_slow_turn(word)
    clock.now = 6.0
    writer.note_slow_turn(word)
    assert texts(row)[1:] == [f"a turn of the loop took too long{text}"]
