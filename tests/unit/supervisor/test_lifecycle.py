"""The life of workers: what they report, how they end, and what the supervisor does about it."""

import errno
import signal
import socket

import pytest

from host.control.commands import COMMANDS
from host.errors import ExitCode, LimitsError
from host.interfaces import ChildExit
from host.ipc.protocol import Ask, Drain
from host.ipc.scoreboard import ACCEPTED_ALL, TURN_STARTED
from host.runtime.processes import Exit
from host.runtime.stacks import SIGNAL
from host.settings import Lifecycle as Limits
from host.supervisor.workers.pool import FORKS_AT_ONCE, GRACE_SECONDS
from host.supervisor.workers.states import WorkerState
from host.telemetry.events import (
    FORK_FAILED,
    HOST_READY,
    UNKNOWN_CHILD,
    WORKER_DIED,
    WORKER_HUNG,
    WORKER_KILLED,
    WORKER_READY,
    WORKER_RECYCLED,
    WORKER_START_FAILED,
    WORKER_STARTED,
    WORKERS_SCALED,
)
from support.supervision import NO_PROCESS, site

MAX_WORKERS = COMMANDS["scale"].arguments[0].high


@pytest.fixture
def alone():
    """A host of two workers that has just been started."""
    with site() as made:
        yield made


def slots(site, *states):
    """The slots with workers in one of these states, or of all workers."""
    return sorted(
        each.record.slot for each in site.workers if not states or each.record.state in states
    )


def test_a_worker_is_started_for_each_slot(alone):
    alone.lifecycle.start()
    assert alone.told.of(WORKER_STARTED) == [
        {"slot": slot, "pid": NO_PROCESS + slot} for slot in range(2)
    ]
    assert slots(alone, WorkerState.STARTING) == [0, 1]


def test_workers_that_report_that_they_are_ready_may_be_chosen(alone):
    alone.lifecycle.start()
    first = alone.find(0)
    alone.loop.now = 101.5
    alone.report(first, "ready")
    pid = first.record.pid
    assert alone.told.of(WORKER_READY) == [{"slot": 0, "pid": pid, "seconds": 1.5}]
    assert first.generation.candidate(pid).slot == 0
    assert alone.told.of(HOST_READY) == []
    alone.report(alone.find(1), "ready")
    assert alone.told.of(HOST_READY) == [{"workers": 2}]


def test_a_successor_goes_on_with_the_count_of_its_slot(alone):
    first, _ = alone.start()
    first.row.put(ACCEPTED_ALL, 7)
    assert first.served == 7
    alone.end(first, code=None, signal=signal.SIGSEGV)
    assert alone.generations.accepted == {0: 7}
    second = alone.find(0)
    alone.report(second, "ready")
    assert second.generation.candidate(second.record.pid).accepted == 7


def test_a_worker_that_was_told_to_leave_is_not_chosen_when_it_gets_ready(alone):
    alone.lifecycle.start()
    first = alone.find(0)
    alone.lifecycle.drain_all(130.0)
    alone.report(first, "ready")
    assert first.generation.candidate(first.record.pid) is None


def test_what_a_worker_reports_of_its_plugins_is_kept(alone):
    first, _ = alone.start()
    alone.report(first, "plugins", data={"plugins": [{"plugin": "census"}, None]})
    assert first.plugins == [{"plugin": "census"}]
    alone.report(first, "plugins", data={"plugins": "nonsense"})
    assert first.plugins == []


def test_an_answer_goes_to_who_has_asked(alone):
    first, _ = alone.start()
    answers, pid = [], first.record.pid
    alone.queries.ask([pid], "connections", {}, lambda *answer: answers.append(answer))
    [number] = [each.number for each in alone.ends(first).told() if isinstance(each, Ask)]
    alone.report(first, "answer", data={"number": number, "items": [{"id": "a"}]})
    assert answers == [({pid: [{"id": "a"}]}, [])]


def test_a_report_of_another_kind_is_passed_over(alone):
    first, _ = alone.start()
    before = list(alone.told)
    alone.report(first, "nonsense")
    assert alone.told == before


def test_a_worker_that_was_sent_sigterm_is_replaced_a_moment_later(alone):
    first, _ = alone.start()
    alone.report(first, "leaving")
    assert alone.told.of(WORKER_RECYCLED) == []
    alone.loop.advance(100.2)
    [told] = alone.told.of(WORKER_RECYCLED)
    assert told == {"slot": 0, "pid": first.record.pid, "cause": "it was sent SIGTERM"}
    assert alone.find(0) is not first


def test_a_worker_that_was_sent_sigterm_with_the_whole_host_is_not_replaced(alone):
    first, _ = alone.start()
    alone.report(first, "leaving")
    alone.shutdown.begin("SIGTERM")
    alone.loop.advance(100.2)
    assert alone.told.of(WORKER_RECYCLED) == []
    assert slots(alone) == [0, 1]


def test_a_worker_that_has_ended_meanwhile_is_not_replaced_again(alone):
    first, _ = alone.start()
    alone.report(first, "leaving")
    alone.end(first)
    alone.loop.advance(100.2)
    assert alone.told.of(WORKER_RECYCLED) == []
    assert slots(alone) == [0, 1]


def test_a_successor_is_ready_before_the_worker_that_it_replaces_drains(alone):
    first, _ = alone.start()
    alone.lifecycle.retire(first, "a command")
    successor = alone.find(0)
    assert alone.ends(first).told() == []
    assert first.generation.candidate(first.record.pid) is not None
    alone.report(successor, "ready")
    assert alone.ends(first).told() == [Drain(130.0)]
    assert first.generation.candidate(first.record.pid) is None
    assert first.generation.candidate(successor.record.pid) is not None
    alone.end(first)
    assert slots(alone, WorkerState.READY) == [0, 1]


def test_a_worker_that_is_being_replaced_is_not_replaced_twice(alone):
    first, _ = alone.start()
    alone.lifecycle.retire(first, "a command")
    alone.lifecycle.retire(first, "a command")
    assert len(alone.told.of(WORKER_RECYCLED)) == 1
    assert slots(alone) == [0, 0, 1]


def test_workers_whose_successors_wait_for_the_next_moment_are_told_of_too():
    with site(workers=FORKS_AT_ONCE + 2) as many:
        many.lifecycle.start()
        many.loop.advance(100.5)
        handles = list(many.workers)
        for handle in handles:
            many.report(handle, "ready")
        assert all(many.lifecycle.retire(handle, "a command") for handle in handles)
        assert len(many.told.of(WORKER_RECYCLED)) == len(handles) == FORKS_AT_ONCE + 2
        many.loop.advance(101.0)
        assert slots(many) == sorted([*range(len(handles))] * 2)


def test_an_order_that_a_full_pipe_does_not_take_is_sent_again(alone):
    first, _ = alone.start()
    while first.channel.send(bytes(1024)):
        pass  # notifications of no connection
    alone.lifecycle.drain_all(130.0)
    alone.loop.advance(100.5)
    assert Drain(130.0) not in alone.ends(first).told()
    alone.loop.advance(100.6)
    assert alone.ends(first).told() == [Drain(130.0)]
    alone.loop.advance(101.0)
    assert alone.ends(first).told() == []


def test_an_order_is_not_sent_again_to_a_worker_that_has_ended(alone):
    first, second = alone.start()
    while first.channel.send(bytes(1024)):
        pass
    alone.lifecycle.drain_all(130.0)
    alone.end(first, second)
    alone.loop.advance(101.0)
    assert alone.finished == [ExitCode.OK]
    deadline = 130.0 + GRACE_SECONDS
    assert alone.loop.due == [deadline]  # the pool's look at deadlines, which finds nobody


def test_plugins_are_told_of_an_end_once_it_is_certain_how(alone):
    first, _ = alone.start()
    alone.loop.now = 107.0
    alone.end(first, code=3)
    assert alone.child_exits == [
        ChildExit(
            slot=0,
            pid=first.record.pid,
            generation=0,
            exit_code=3,
            signal=None,
            age_seconds=7.0,
            was_ready=True,
            expected=False,
        )
    ]


def test_a_worker_that_dies_is_replaced_and_the_log_says_so(alone):
    first, _ = alone.start()
    alone.end(first, code=None, signal=signal.SIGSEGV)
    [told] = alone.told.of(WORKER_DIED)
    assert (told["cause"], told["next"]) == ("killed by SIGSEGV", "replaced at once")
    assert slots(alone, WorkerState.STARTING) == [0]
    assert alone.workers.get(first.record.pid) is None


def test_a_slot_whose_workers_die_young_is_filled_after_a_pause(alone):
    first, _ = alone.start()
    alone.end(first, code=None, signal=signal.SIGSEGV)
    second = alone.find(0)
    alone.report(second, "ready")
    alone.end(second, code=None, signal=signal.SIGSEGV)
    assert alone.told.of(WORKER_DIED)[-1]["next"] == "replaced in 0.5 s"
    assert slots(alone) == [1]
    alone.loop.advance(100.5)
    assert slots(alone) == [0, 1]


def test_without_respawn_nobody_comes_after_a_worker_and_the_last_one_ends_the_host():
    with site(respawn=False) as made:
        first, second = made.start()
        made.end(first, code=1)
        assert made.told.of(WORKER_DIED)[-1]["next"] == "it is not replaced"
        assert (slots(made), made.finished) == ([1], [])
        made.end(second, code=1)
        assert made.finished == [ExitCode.WORKERS_GONE]


def test_a_worker_that_was_on_its_way_out_needs_no_successor(alone):
    first, _ = alone.start()
    alone.lifecycle.retire(first, "a command")
    alone.end(first, code=1)
    assert alone.told.of(WORKER_DIED)[-1]["next"] == "it was on its way out"
    assert slots(alone) == [0, 1]


def test_the_first_worker_that_cannot_start_ends_the_host(alone):
    alone.lifecycle.start()
    first, second = alone.find(0), alone.find(1)
    alone.ends(first).report("failed", cause="no such module", traceback="line 1")
    alone.end(first, code=1)
    assert alone.told.of(WORKER_START_FAILED) == [
        {"slot": 0, "cause": "no such module", "traceback": "line 1"}
    ]
    assert alone.ends(second).told() == [Drain(100.0)]
    alone.end(second)
    assert alone.finished == [ExitCode.WORKER_START]


def test_the_row_of_a_worker_that_has_ended_is_free(alone):
    first, _ = alone.start()
    alone.end(first, code=1)
    assert alone.find(0).row.number == first.row.number


def test_orphans_are_looked_for_before_plugins_are_told(alone):
    first, second = alone.start()
    alone.ended = [Exit(7, 0, None)]
    alone.end(first, second)
    one, other = first.record.pid, second.record.pid
    # At once when others than workers end: after a rehearsal there may be no next turn.
    looks = [("now", 7), ("soon", one), ("pass over", 0), ("soon", other), ("pass over", 0)]
    assert alone.orphans.calls == looks


def test_the_first_of_several_workers_has_orphans_looked_for_at_once(alone):
    first, second = alone.start()
    alone.end(first, second)
    assert [call for call, _ in alone.orphans.calls] == ["now", "pass over", "soon", "pass over"]


def test_a_child_that_is_no_worker_is_somebody_elses_to_know(alone):
    alone.known.add(7)
    alone.ended = [Exit(7, 0, None), Exit(8, 3, None)]
    alone.lifecycle.reap()
    assert [each.pid for each in alone.others] == [7, 8]
    assert alone.told.of(UNKNOWN_CHILD) == [{"pid": 8, "cause": "exit code 3"}]


def test_a_slot_that_cannot_be_filled_is_tried_again(alone):
    alone.start()
    alone.workers.refusals = [
        OSError(errno.EAGAIN, "try again"),
        LimitsError("4096 workers of one generation are alive"),
    ]
    assert alone.lifecycle.scale(4, "SIGTTIN")
    reason = (
        "try again (RLIMIT_NPROC, ulimit -u, or the cgroup's pids.max allows no more processes)"
    )
    assert alone.told.of(FORK_FAILED) == [
        {"slot": 2, "error": reason, "seconds": 0.0},
        {"slot": 3, "error": "4096 workers of one generation are alive", "seconds": 0.0},
    ]
    assert slots(alone) == [0, 1]
    alone.loop.advance(100.0)
    assert slots(alone) == [0, 1, 2, 3]


def test_a_first_worker_that_cannot_be_forked_ends_the_host_with_the_reason_said_once(alone):
    alone.workers.refusals = [OSError(errno.ENOMEM, "no memory"), OSError(errno.ENOMEM, "again")]
    alone.lifecycle.start()
    assert alone.told.of(WORKER_START_FAILED) == [
        {"slot": 0, "cause": "it cannot be forked: no memory", "traceback": ""}
    ]
    assert alone.told.of(FORK_FAILED) == []
    assert slots(alone) == []
    assert alone.finished == [ExitCode.WORKER_START]


def test_the_start_timeout_counts_from_a_workers_own_fork(alone):
    alone.workers.fork_seconds = 0.06
    alone.lifecycle.start()
    born = [each.record.born for each in alone.workers]
    assert born == pytest.approx([100.06, 100.12])
    limit = alone.limits.start_timeout_seconds
    assert [each.record.deadline for each in alone.workers] == pytest.approx(
        [moment + limit for moment in born]
    )


def test_a_worker_that_does_not_get_ready_prints_its_stacks_and_is_killed():
    with site(workers=1, limits=Limits(start_timeout_seconds=5.0)) as made:
        made.lifecycle.start()
        pid = made.find(0).record.pid
        made.loop.advance(105.0)
        assert made.workers.signals == [(pid, SIGNAL)]
        made.loop.advance(106.0)
        assert made.workers.signals == [(pid, SIGNAL), (pid, signal.SIGKILL)]
        [told] = made.told.of(WORKER_KILLED)
        assert told["cause"] == "not ready after 5 s (start_timeout_seconds)"


def test_a_worker_whose_loop_does_not_turn_is_ended_and_replaced(alone):
    first, second = alone.start()
    pid = first.record.pid
    for now in range(100, 106):
        alone.loop.advance(float(now))
        second.row.put(TURN_STARTED, int(now * 1e9))
        assert alone.lifecycle.check_health() <= now + 1.0
    assert alone.workers.signals[0] == (pid, SIGNAL)
    assert first.generation.candidate(pid) is None
    alone.loop.advance(106.0)
    assert [number for _, number in alone.workers.signals] == [
        SIGNAL,
        signal.SIGABRT,
        signal.SIGKILL,
    ]
    assert [told["seconds"] for told in alone.told.of(WORKER_HUNG)] == [4.0]
    alone.end(first, code=None, signal=signal.SIGABRT)
    assert alone.told.of(WORKER_DIED)[-1]["next"] == "replaced at once"
    assert slots(alone) == [0, 1]
    assert second.record.state is WorkerState.READY


def test_a_worker_that_has_served_enough_is_replaced():
    with site(workers=1, limits=Limits(max_connections_served=5)) as made:
        [first] = made.start()
        first.row.put(ACCEPTED_ALL, 6)
        made.lifecycle.check_health()
        [told] = made.told.of(WORKER_RECYCLED)
        assert told["cause"] == "it has served 6 connections (max_connections_served)"


def test_the_number_of_workers_can_be_changed(alone):
    _, second = alone.start()
    assert alone.lifecycle.scale(3, "a command")
    assert slots(alone) == [0, 1, 2]
    assert alone.lifecycle.scale(1, "a command")
    assert alone.told.of(WORKERS_SCALED) == [
        {"workers": 3, "before": 2, "cause": "a command"},
        {"workers": 1, "before": 3, "cause": "a command"},
    ]
    assert slots(alone, WorkerState.DRAINING) == [1, 2]
    assert alone.ends(second).told() == [Drain(130.0)]


def test_the_number_of_workers_stays_within_its_limits(alone):
    alone.start()
    assert not alone.lifecycle.scale(0, "a command")
    assert not alone.lifecycle.scale(MAX_WORKERS + 1, "a command")
    alone.lifecycle.scale_by(-2, "SIGTTOU")
    assert alone.pool.workers == 2
    alone.lifecycle.scale_by(-1, "SIGTTOU")
    assert alone.pool.workers == 1


def test_a_host_that_stops_is_not_scaled(alone):
    alone.start()
    alone.shutdown.begin("SIGTERM")
    assert not alone.lifecycle.scale(3, "a command")
    assert alone.told.of(WORKERS_SCALED) == []


def test_a_host_that_stops_ends_with_its_last_worker(alone):
    first, second = alone.start()
    alone.shutdown.begin("SIGTERM")
    alone.loop.advance(100.1)
    assert alone.ends(first).told() == alone.ends(second).told() == [Drain(130.0)]
    alone.end(first)
    assert alone.finished == []
    alone.end(second, code=ExitCode.CUT_SHORT)
    assert alone.finished == [ExitCode.CUT_SHORT]
    assert alone.told.of(WORKER_DIED) == []


def test_a_host_that_stops_at_once_gives_its_workers_a_second(alone):
    first, _ = alone.start()
    alone.lifecycle.end_all()
    assert alone.ends(first).told() == [Drain(100.0)]
    alone.loop.advance(101.5)
    assert (first.record.pid, signal.SIGKILL) in alone.workers.signals


def test_a_worker_whose_exit_somebody_else_has_taken_is_replaced(alone):
    alone.start()
    first = next(iter(alone.workers))
    alone.ends(first).control.shutdown(socket.SHUT_RDWR)
    alone.hear(first)
    alone.lifecycle.check_health()
    assert first in alone.workers, "its exit is on the way"
    alone.lost.add(first.record.pid)
    alone.lifecycle.check_health()
    assert first.record.pid not in [each.record.pid for each in alone.workers]
    assert sorted(each.record.slot for each in alone.workers) == [0, 1]
    [told] = alone.child_exits
    assert (told.pid, told.exit_code, told.signal) == (first.record.pid, None, None)
    assert alone.orphans.calls == [("now", first.record.pid), ("pass over", 0)]


def test_at_rest_nobody_asks_for_exits_that_somebody_else_has_taken(alone):
    alone.start()
    alone.lost.update(each.record.pid for each in alone.workers)
    alone.lifecycle.check_health()
    assert alone.child_exits == []
