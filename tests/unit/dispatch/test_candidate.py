"""What a candidate is known to have: counts go on from the slot's workers before."""

from host.dispatch.candidate import Candidate
from host.ipc.scoreboard import ACCEPTED_ALL, ACTIVE, CLAIMED, CLAIMED_ALL, SENT, SUSPENDED
from support.fakes import blank_cells, rows_of, worker_id


def test_what_a_slot_has_accepted_goes_on_from_the_workers_before():
    [row] = rows_of(blank_cells(1, 1), 1, 1)
    row.put(ACCEPTED_ALL, 70)  # by others in this row, whatever their slot was
    worker = Candidate(row, worker_id(0), before=500)
    assert worker.accepted == 500
    row.put(ACCEPTED_ALL, 72)
    assert worker.accepted == 502


def test_what_was_sent_to_the_row_before_is_not_outstanding():
    [row] = rows_of(blank_cells(1, 2), 1, 2)
    for listener, sent in ((0, 4), (1, 6)):
        row.add(listener, SENT, sent)
        row.add(listener, CLAIMED, sent)
    row.put(CLAIMED_ALL, 10)
    worker = Candidate(row, worker_id(0))
    assert worker.outstanding == 0
    worker.sent += 2
    assert worker.note_sent(1, 0.0) == (2, 8)
    assert row.count(1, SENT) == 8
    assert (worker.outstanding, worker.load) == (2, 2)
    row.put(ACTIVE, 1)
    row.put(CLAIMED_ALL, 11)
    assert (worker.outstanding, worker.load) == (1, 2)
    worker.take_back(1, 1)
    assert row.count(1, SENT) == 7
    assert worker.outstanding == 0


def test_a_candidate_begins_free_of_everything():
    [row] = rows_of(blank_cells(1, 1), 1, 1)
    row.put(SUSPENDED, 1)  # by a supervisor before an exec
    one = Candidate(row, worker_id(0))
    assert row.get(SUSPENDED) == 0
    assert not any((one.held, one.suspended, one.eligible, one.refusing))
    assert (one.slot, one.pid) == (0, 1000)
    assert repr(one) == "<worker 0 (pid 1000)>"
