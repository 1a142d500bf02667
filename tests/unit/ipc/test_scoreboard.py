"""Counters are shared across a fork's mapping, do not overlap, and balance when a worker dies."""

import os
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.errors import LimitsError
from host.ipc.scoreboard import (
    ACCEPTED,
    ACCEPTED_ALL,
    ACTIVE,
    CLAIMED,
    CLAIMED_ALL,
    CURRENT_CALL,
    MAX_ROWS,
    REFUSED,
    REFUSING,
    REPLIES,
    SENDING,
    SENT,
    SETTLED,
    SPURIOUS,
    SUSPENDED,
    SUSPENSIONS,
    TASKS_DONE,
    TASKS_LOST,
    TASKS_RUNNING,
    TASKS_WAITING,
    TURN_LASTED,
    TURN_STARTED,
    Scoreboard,
)
from host.runtime.usage import address_space
from support.fakes import blank_cells, rows_of

WORDS = [
    *(ACTIVE, TURN_STARTED, TURN_LASTED, REFUSING, CLAIMED_ALL, ACCEPTED_ALL),
    *(CURRENT_CALL, SUSPENDED, SUSPENSIONS),
]
COUNTERS = [CLAIMED, SETTLED, ACCEPTED, SPURIOUS, REFUSED, SENT]


@pytest.fixture
def board():
    board = Scoreboard(listeners=2)
    for number in range(3):
        board.use(number, 0)
    yield board
    board.close()


def test_no_two_counters_share_a_cell(board):
    board.starved = board.gate_shut = True
    value = 10
    for row in board.rows:
        for word in WORDS:
            row.put(word, value := value + 1)
        for listener in range(2):
            for counter in COUNTERS:
                row.add(listener, counter, value := value + 1)
    found = [row.get(word) for row in board.rows for word in WORDS]
    found += [row.count(n, each) for row in board.rows for n in range(2) for each in COUNTERS]
    assert sorted(found) == list(range(11, value + 1))
    assert board.starved
    assert board.gate_shut


def test_marks_are_set_and_taken_back_apart_from_each_other(board):
    board.starved = True
    assert (board.starved, board.gate_shut) == (True, False)
    board.gate_shut = True
    board.starved = False
    assert (board.starved, board.gate_shut) == (False, True)


def test_totals_are_over_all_rows(board):
    for slot, row in enumerate(board.rows):
        row.add(0, ACCEPTED, slot)
        row.add(1, ACCEPTED, 10)
    assert [board.total(listener, ACCEPTED) for listener in range(2)] == [3, 30]
    assert board.total(0, SPURIOUS) == 0


def test_closing_gives_back_the_descriptor():
    before = sorted(os.listdir("/proc/self/fd"))
    Scoreboard(1).close()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_a_scoreboard_is_found_again_by_its_descriptor(board):
    board.rows[2].add(1, ACCEPTED, 7)
    again = Scoreboard(2, os.dup(board.fileno()))
    try:
        assert len(again.rows) == 3
        assert again.total(1, ACCEPTED) == 7
        again.row(0).put(ACTIVE, 5)
    finally:
        again.close()
    assert board.row(0).get(ACTIVE) == 5


def test_the_last_row_there_is_can_be_written(board):
    board.use(MAX_ROWS - 1, 0).add(1, SENT, 3)
    assert board.total(1, SENT) == 3


def test_a_cell_is_named_by_its_index(board):
    board.rows[1].add(1, SENT, 5)
    assert board.cells[board.rows[1].cell(1, SENT)] == 5


@given(
    st.lists(st.sampled_from([ACCEPTED, SPURIOUS, REFUSED])),
    st.sampled_from(["idle", "claimed", "told the outcome"]),
    st.integers(0, 3),
)
def test_writing_off_balances_whatever_the_worker_was_doing(outcomes, doing, unclaimed):
    [row] = rows_of(blank_cells(1, 1), 1, 1)
    row.put(ACTIVE, 3)
    row.put(REFUSING, 1)
    row.put(TURN_STARTED, 17)
    for outcome in outcomes:
        for counter in (CLAIMED, outcome, SETTLED):
            row.add(0, counter)
    if doing != "idle":
        row.add(0, CLAIMED)
    if doing == "told the outcome":
        row.add(0, ACCEPTED)
    claimed, accepted = row.count(0, CLAIMED), row.count(0, ACCEPTED)
    row.add(0, SENT, claimed + unclaimed)
    row.put(CURRENT_CALL, 77)
    row.write_off()
    assert (row.get(CLAIMED_ALL), row.get(ACCEPTED_ALL), row.get(CURRENT_CALL)) == (
        claimed,
        accepted,
        0,
    )
    assert row.count(0, CLAIMED) == row.count(0, SETTLED) == row.count(0, SENT) == claimed
    assert sum(row.count(0, each) for each in (ACCEPTED, SPURIOUS, REFUSED)) == claimed
    assert row.count(0, ACCEPTED) == accepted
    assert [row.get(word) for word in (ACTIVE, REFUSING, TURN_STARTED)] == [0, 0, 0]


def test_tasks_of_a_dead_worker_are_lost_those_that_ran_and_those_that_waited():
    [row] = rows_of(blank_cells(1, 1), 1, 1)
    for word, count in ((TASKS_WAITING, 5), (TASKS_RUNNING, 2), (TASKS_LOST, 1), (TASKS_DONE, 9)):
        row.put(word, count)
    row.write_off()
    row.write_off()  # nothing is lost twice
    words = (TASKS_WAITING, TASKS_RUNNING, TASKS_LOST, TASKS_DONE)
    assert [row.get(word) for word in words] == [0, 0, 8, 9]


@pytest.mark.parametrize("sending", [0, 4, 5])
def test_a_reply_that_was_being_sent_counts_as_sent_when_the_row_is_written_off(sending):
    """0: the last one failed; 4: it was sent and is counted; 5: it may have been sent."""
    [row] = rows_of(blank_cells(1, 1), 1, 1)
    row.add(0, REPLIES, 4)
    row.add(0, SENDING, sending)
    for _ in range(2):
        row.write_off()
        assert row.count(0, REPLIES) == max(4, sending)


def test_where_files_may_not_be_so_large_it_names_that_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(LimitsError, match=r"25 MiB of shared memory.*RLIMIT_FSIZE, ulimit -f"):
            Scoreboard(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_without_address_space_it_says_how_much_it_needs():
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    open_before = set(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + (8 << 20), hard))
    try:
        with pytest.raises(LimitsError, match=r"need 25 MiB of address space.*RLIMIT_AS"):
            Scoreboard(1)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert set(os.listdir("/proc/self/fd")) == open_before


def test_who_only_reads_it_sees_what_others_write_and_cannot_write():
    board = Scoreboard(1)
    row = board.use(0, 3)
    writer = Scoreboard(1, os.dup(board.fileno()))
    board.only_read()
    writer.row(0).put(ACTIVE, 5)
    assert board.rows[0].get(ACTIVE) == 5
    with pytest.raises(TypeError):
        board.rows[0].put(ACTIVE, 6)
    with pytest.raises(ValueError, match="released"):
        row.put(ACTIVE, 6)
    writer.close()
    board.close()
