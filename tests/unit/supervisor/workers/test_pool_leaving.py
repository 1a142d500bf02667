"""How the pool has workers leave: drained, hung, retired, of an older generation, at the end."""

import signal

import pytest

from host.errors import ExitCode
from host.supervisor.workers.pool import (
    ABORT_SECONDS,
    DUMP_SECONDS,
    FIRST_PAUSE_SECONDS,
    GRACE_SECONDS,
    QUICK_SECONDS,
    Pool,
)
from host.supervisor.workers.states import (
    AbortWorker,
    AllReady,
    DrainWorker,
    DumpWorker,
    Finish,
    KillWorker,
    PoolPolicy,
    WorkerRecord,
    WorkerState,
)
from support.pools import DRAIN_TIME, PAUSE_MAX, START, Staff, running


def test_who_is_stuck_is_gone_half_a_second_after_the_deadline():
    assert GRACE_SECONDS + DUMP_SECONDS < 0.5


def test_who_is_not_ready_in_time_is_not_waited_for_any_longer_because_it_is_to_go():
    staff = Staff(1)
    staff.start()
    staff.tick(START - 5.0)
    staff.drain(0)
    assert staff.tick(5.0) == [DumpWorker(0)]
    assert staff.tick(DUMP_SECONDS) == [KillWorker(0, "still starting when it was told to go")]


def test_who_is_not_gone_at_the_drain_deadline_is_killed():
    staff = running(1)
    staff.drain(0)
    assert staff.state(0) is WorkerState.DRAINING
    assert staff.pool.deadline() == staff.now + DRAIN_TIME + GRACE_SECONDS
    assert staff.tick(DRAIN_TIME) == []
    assert staff.tick(GRACE_SECONDS) == [DumpWorker(0)]
    assert staff.tick(DUMP_SECONDS) == [KillWorker(0, "still there at the drain deadline")]
    assert staff.exited(0, number=signal.SIGKILL) == [("fork", 1)]


def test_who_is_told_to_drain_already_or_is_unknown_is_not_told_again():
    staff = running(1)
    staff.drain(0)
    assert staff.drain(0) == []
    assert staff.drain(4711) == []


def test_who_hangs_prints_its_stacks_is_aborted_and_then_killed():
    staff = running(1)
    assert staff.hung(0) == [DumpWorker(0)]
    assert staff.tick(DUMP_SECONDS) == [AbortWorker(0)]
    assert staff.tick(ABORT_SECONDS) == [KillWorker(0, "it hangs")]
    assert staff.tick(100.0) == []
    assert not staff.pool.records[0].expected
    assert staff.exited(0, number=signal.SIGKILL) == [("fork", 1)]


def test_who_hangs_while_it_drains_is_not_waited_for():
    staff = running(1)
    staff.drain(0)
    assert staff.hung(0) == [DumpWorker(0)]


def test_who_is_starting_or_about_to_be_killed_does_not_hang():
    staff = Staff(1)
    staff.start()
    assert staff.hung(0) == []
    staff.tick(START)
    assert staff.hung(0) == []


def test_who_retires_drains_when_its_successor_is_ready():
    staff = running(2)
    assert staff.retire(0) == [("fork", 1)]
    assert staff.state(0) is WorkerState.READY
    assert staff.retire(0) == []
    assert staff.ready(1) == [DrainWorker(0, staff.now + DRAIN_TIME)]
    assert staff.exited(0, code=0) == []
    assert sorted(staff.pool.records) == [1, 10]


def test_whose_successor_fails_goes_on_and_another_is_tried():
    staff = running(1)
    staff.retire(0)
    assert staff.exited(1, code=3) == [("fork", 2)]
    assert staff.state(0) is WorkerState.READY
    assert staff.ready(2) == [DrainWorker(0, staff.now + DRAIN_TIME)]


def test_who_retires_drains_also_if_its_generation_has_become_an_older_one():
    old = WorkerRecord(0, 1, 0.0, WorkerState.READY, None, was_ready=True, retiring=True)
    successor = WorkerRecord(0, 2, 0.0, WorkerState.STARTING, 60.0)
    pool = Pool(PoolPolicy(1, True, START, DRAIN_TIME, 30.0, generation=1), [old, successor])
    pool.given_up = True
    assert pool.ready(2, 5.0) == [DrainWorker(1, 5.0 + DRAIN_TIME)]
    assert old.state is WorkerState.DRAINING


def test_who_dies_retiring_has_a_successor_on_its_way():
    staff = running(1)
    staff.retire(0)
    assert staff.exited(0, code=3) == []
    assert staff.ready(1) == []


def test_without_respawn_who_retires_drains_at_once():
    staff = running(2, respawn=False)
    assert staff.retire(0) == [DrainWorker(0, staff.now + DRAIN_TIME)]


def succeeding(**how):
    """A pool of generation 1 whose workers are starting, with two workers of generation 0."""
    staff = running(2)
    older = staff.pool.records.values()
    again = Staff(2, older=older, first=5, **how)
    again.start()
    return again


def test_older_workers_serve_until_the_new_ones_are_ready():
    staff = succeeding()
    assert staff.ready(5) == []
    assert staff.ready(15) == [AllReady()]
    assert staff.state(0) is WorkerState.READY
    deadline = staff.now + DRAIN_TIME
    assert staff.do(staff.pool.drain_others(staff.now, but=[5])) == [
        DrainWorker(0, deadline),
        DrainWorker(10, deadline),
    ]
    assert staff.exited(0, code=0) == staff.exited(10, code=9) == []


def test_a_generation_that_fails_to_start_is_tried_again_and_stops_nobody():
    staff = succeeding()
    assert staff.exited(5, code=6) == [("fork", 6)]
    assert staff.exited(6, code=6) == []
    assert staff.pool.pause_before(0, staff.now) == FIRST_PAUSE_SECONDS
    assert staff.state(0) is WorkerState.READY


def test_who_dies_of_an_older_generation_is_not_replaced_by_its_like():
    staff = succeeding()
    assert staff.exited(0, number=signal.SIGSEGV) == []
    assert sorted(staff.pool.records) == [5, 10, 15]


def test_a_generation_that_never_came_to_serve_drains_and_the_one_that_does_stays():
    staff = running(1)
    serving = [*staff.pool.records.values()]
    failed = WorkerRecord(0, 99, 100.0, WorkerState.READY, None, generation=5, was_ready=True)
    again = Staff(1, older=[*serving, failed], first=6)
    again.start()
    assert again.do(again.pool.drain_others(again.now, but=(0, 6))) == [
        DrainWorker(99, again.now + DRAIN_TIME)
    ]
    assert again.state(0) is WorkerState.READY
    assert again.exited(99, code=0) == []


def test_a_generation_that_is_given_up_starts_nobody():
    staff = succeeding()
    staff.pool.given_up = True
    assert staff.exited(5, code=3) == []
    assert staff.tick(START) == [DumpWorker(15)]


def test_without_respawn_older_workers_keep_the_host():
    staff = succeeding(respawn=False)
    assert staff.exited(5, code=3) == []
    assert staff.exited(15, code=3) == []
    assert staff.exited(0, code=0) == []
    assert staff.exited(10, code=0) == [Finish(ExitCode.WORKERS_GONE)]


def test_stopping_drains_everybody_and_replaces_nobody():
    staff = running()
    deadline = staff.now + DRAIN_TIME
    assert staff.stop() == [DrainWorker(0, deadline), DrainWorker(10, deadline)]
    assert staff.exited(0, code=0) == []
    assert staff.exited(10, code=0) == [Finish(ExitCode.OK)]


def test_stopping_may_have_a_deadline_of_its_own():
    staff = running(1)
    assert staff.stop(deadline=105.0) == [DrainWorker(0, 105.0)]
    assert staff.pool.deadline() == 105.0 + GRACE_SECONDS


def test_a_pause_ends_with_the_host():
    staff = running(1)
    staff.exited(0, code=3)
    staff.exited(1, code=3)
    assert staff.pool.deadline() is not None
    assert staff.stop() == [Finish(ExitCode.OK)]
    assert staff.tick(1000.0) == []


def test_stopping_during_the_first_start_drains_who_is_starting():
    staff = Staff(1)
    staff.start()
    assert staff.stop() == [DrainWorker(0, staff.now + DRAIN_TIME)]
    assert staff.ready(0) == []
    assert staff.exited(0, code=0) == [Finish(ExitCode.OK)]


def test_a_second_stop_that_is_quick_leaves_a_second():
    staff = running()
    staff.stop()
    staff.now += 1
    assert staff.stop(quick=True) == [DrainWorker(0, staff.now), DrainWorker(10, staff.now)]
    assert staff.pool.deadline() == staff.now + QUICK_SECONDS
    assert staff.tick(QUICK_SECONDS) == [DumpWorker(0), DumpWorker(10)]
    assert [type(action) for action in staff.tick(DUMP_SECONDS)] == [KillWorker, KillWorker]


def test_a_quick_stop_makes_nothing_later():
    staff = running(1)
    staff.stop()
    staff.now += DRAIN_TIME
    staff.stop(quick=True)
    assert staff.pool.deadline() == staff.now + GRACE_SECONDS


def test_a_quick_stop_tells_nobody_who_was_killed():
    staff = running(1)
    staff.stop()
    staff.tick(DRAIN_TIME + GRACE_SECONDS)
    assert staff.stop(quick=True) == []


@pytest.mark.parametrize("end", [{"code": 9}, {"code": 1}, {"number": signal.SIGKILL}])
def test_whoever_had_to_be_cut_short_shows_in_the_exit_code(end):
    staff = running()
    staff.stop()
    staff.exited(0, **end)
    assert staff.exited(10, code=0) == [Finish(ExitCode.CUT_SHORT)]


def test_the_first_thing_that_went_wrong_is_the_exit_code():
    staff = Staff()
    staff.start()
    staff.exited(0, code=6)
    assert staff.exited(10, number=signal.SIGKILL) == [Finish(ExitCode.WORKER_START)]


def test_without_workers_nothing_is_due():
    assert Pool(PoolPolicy(2, True, START, DRAIN_TIME, PAUSE_MAX)).deadline() is None
