"""What cannot arrive is counted each time, and told without filling the log."""

import pytest

from host.interfaces import CloseReason, Listener
from host.ipc.scoreboard import CUT_ANSWERS, LOST_WRITES, Scoreboard
from host.runtime.loop import READ
from host.telemetry.events import ANSWERS_CUT, WRITES_LOST
from host.worker.losses import ListenerLosses
from support.connections import Worker
from support.fakes import FakeLoop, Told


class Scene:
    def __init__(self, row):
        self.row, self.loop, self.told = row, FakeLoop(), Told()
        listener = Listener(0, "tcp://127.0.0.1:7000", "upper")
        self.losses = ListenerLosses(listener, row, self.loop.time, self.told.telemetry, 3)


@pytest.fixture
def scene():
    board = Scoreboard(1)
    yield Scene(board.use(0, 0))
    board.close()


def connection():
    return Worker().connect()[0]


def test_the_first_is_told_at_once_and_the_next_together(scene):
    each = connection()
    for _ in range(5):
        scene.losses.written_late(each, 10)
    [first] = scene.told.of(WRITES_LOST)
    assert (first["plugin"], first["slot"], first["connection"]) == ("upper", 3, each.id)
    assert (first["count"], first["bytes"]) == (1, 10)
    scene.loop.advance(scene.loop.now + 10)
    scene.losses.written_late(each, 1)
    assert (
        scene.told.of(WRITES_LOST)[-1] | {"count": 5, "bytes": 41}
        == (scene.told.of(WRITES_LOST)[-1])
    )
    assert scene.row.count(0, LOST_WRITES) == 6


def test_each_reason_for_a_cut_is_told_for_itself(scene):
    each = connection()
    for reason in (CloseReason.UNSENT_LIMIT, CloseReason.WRITE_TIMEOUT, CloseReason.UNSENT_LIMIT):
        scene.losses.cut(each, reason, 100)
    assert [told["reason"] for told in scene.told.of(ANSWERS_CUT)] == [
        CloseReason.UNSENT_LIMIT.value,
        CloseReason.WRITE_TIMEOUT.value,
    ]
    assert scene.row.count(0, CUT_ANSWERS) == 3


def test_a_write_after_the_peer_has_finished_and_the_host_has_closed_is_a_loss():
    worker = Worker()
    each, _ = worker.connect(b"", takes=[0])
    worker.handler = lambda it: it.read() or it.write(b"bye")
    worker.turn(each)
    each.write(b"too late")
    each.write(b"")
    assert worker.losses.late == [(each, 8)]


@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_write_after_the_plugin_has_closed_is_not(end):
    worker = Worker()
    each, _ = worker.connect()
    getattr(each, end)()
    each.write(b"dropped")
    worker.end_turn()
    each.write(b"dropped")
    assert (worker.losses.late, worker.losses.cuts) == ([], [])


def test_a_peer_that_has_finished_gets_the_answers_that_are_to_come():
    worker = Worker()
    each, sock = worker.connect(b"ask", b"")
    each.begin_answer()
    each.begin_answer()
    worker.turn(each)
    worker.turn(each)
    assert (worker.reasons, each.eof) == ([], True)
    each.write(b"one ")
    each.end_answer()
    worker.end_turn()
    assert worker.reasons == []
    each.write(b"two")
    each.end_answer()
    worker.end_turn()
    assert (sock.taken, worker.reasons) == (b"one two", [CloseReason.PEER_FINISHED])
    assert worker.losses.late == []
    assert (worker.context.answering, worker.loop.due) == ({}, [])


def test_answers_are_not_waited_for_for_ever():
    worker = Worker()
    each, _ = worker.connect(b"")
    each.begin_answer()
    worker.turn(each)
    worker.loop.advance(worker.loop.now + 59)
    worker.end_turn()
    assert worker.reasons == []
    worker.loop.advance(worker.loop.now + 2)
    worker.end_turn()
    assert worker.reasons == [CloseReason.PEER_FINISHED]
    each.write(b"late")
    each.end_answer()
    assert worker.losses.late == [(each, 4)]


def test_an_answer_more_than_was_said_is_harmless():
    worker = Worker()
    each, _ = worker.connect(b"ask")
    each.end_answer()
    each.begin_answer()
    each.end_answer()
    each.end_answer()
    worker.turn(each, READ)
    assert (worker.reasons, worker.context.answering) == ([], {})


def test_an_abort_resets_though_nothing_waits():
    worker = Worker()
    each, sock = worker.connect()
    each.abort()
    each.abort()
    worker.end_turn()
    assert (worker.reasons, sock.was_reset, sock.closed) == ([CloseReason.PLUGIN], True, True)
    each.abort()


def test_a_clean_end_at_the_deadline_is_no_reset():
    worker = Worker()
    each, sock = worker.connect()
    each.cut(CloseReason.DEADLINE)
    assert (worker.reasons, sock.was_reset) == ([CloseReason.DEADLINE], False)
