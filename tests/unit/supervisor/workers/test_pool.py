"""What the pool does to have a worker in each slot: it starts, replaces and scales."""

import signal

import pytest

from host.errors import ExitCode
from host.supervisor.workers.pool import (
    DUMP_SECONDS,
    EARLY_KILLS,
    FIRST_PAUSE_SECONDS,
    JITTER,
    SERVED_PAUSE_MAX_SECONDS,
    YOUNG_SECONDS,
    Pool,
)
from host.supervisor.workers.states import (
    AllReady,
    DrainWorker,
    DumpWorker,
    Finish,
    ForkWorker,
    KillWorker,
    PoolPolicy,
    WorkerState,
)
from support.pools import DRAIN_TIME, PAUSE_MAX, START, Staff, running


def test_all_slots_are_filled_at_the_start():
    assert Staff(3).start() == [("fork", 0), ("fork", 10), ("fork", 20)]


def test_ready_is_told_once_when_all_slots_are():
    staff = Staff()
    staff.start()
    assert staff.ready(0) == []
    assert not staff.pool.complete
    assert staff.ready(10) == [AllReady()]
    assert staff.pool.complete
    assert staff.pool.ready_count == 2
    staff.exited(0, code=3)
    assert staff.ready(1) == []


def test_who_says_ready_twice_or_is_unknown_changes_nothing():
    staff = running()
    assert staff.ready(0) == []
    assert staff.ready(4711) == []


def test_a_worker_that_fails_during_the_first_start_stops_the_host():
    staff = Staff(3)
    staff.start()
    staff.ready(10)
    assert staff.exited(0, code=6) == [DrainWorker(10, staff.now), DrainWorker(20, staff.now)]
    assert staff.exited(10, code=0) == []
    assert staff.exited(20, code=0) == [Finish(ExitCode.WORKER_START)]


def test_a_worker_that_dies_ready_during_the_first_start_is_replaced():
    staff = Staff()
    staff.start()
    staff.ready(0)
    assert staff.exited(0, code=3) == [("fork", 1)]


def test_who_is_not_ready_in_time_is_killed_with_the_setting_named():
    staff = Staff(1)
    staff.start()
    assert staff.pool.deadline() == staff.now + START
    assert staff.tick(START - 1) == []
    assert staff.tick(1.0) == [DumpWorker(0)]
    assert staff.state(0) is WorkerState.ENDING
    kill = KillWorker(0, "not ready after 30 s (start_timeout_seconds)")
    assert staff.tick(DUMP_SECONDS) == [kill]
    assert staff.tick(100.0) == []
    assert staff.exited(0, number=signal.SIGKILL) == [Finish(ExitCode.WORKER_START)]


def test_a_replacement_that_is_not_ready_in_time_is_killed_and_replaced():
    staff = running(1)
    staff.exited(0, code=3)
    staff.tick(START)
    staff.tick(DUMP_SECONDS)
    assert staff.state(1) is WorkerState.ENDING
    assert staff.exited(1, number=signal.SIGKILL) == [("fork", 2)]


def test_a_fork_that_fails_is_tried_again_at_growing_intervals():
    pool = running(1).pool
    assert pool.scale(2, 0.0) == [ForkWorker(1)]
    assert pool.fork_failed(1, 0.0) == []
    assert pool.pause_before(1, 0.0) == 0.0
    assert pool.tick(0.0) == [ForkWorker(1)]
    assert pool.fork_failed(1, 0.0) == []
    assert pool.tick(0.25) == []
    assert pool.pause_before(1, 0.25) == 0.25
    assert pool.tick(0.5) == [ForkWorker(1)]
    assert pool.pause_before(1, 0.5) is None
    assert pool.fork_failed(1, 0.5) == []
    assert pool.pause_before(1, 0.5) == 1.0


def test_a_first_worker_that_cannot_be_forked_stops_the_host():
    staff = Staff(3)
    assert staff.pool.start(0.0) == [ForkWorker(slot) for slot in range(3)]
    staff.pool.forked(0, 7, 0.0)
    assert staff.pool.fork_failed(1, 0.0) == [DrainWorker(7, 0.0)]
    assert staff.pool.pause_before(1, 0.0) is None
    assert staff.pool.tick(0.5) == []
    assert staff.pool.exited(7, 0, None, 0.5) == [Finish(ExitCode.WORKER_START)]


def test_the_first_fork_of_all_that_fails_ends_the_host_at_once():
    pool = Pool(PoolPolicy(1, True, START, DRAIN_TIME, PAUSE_MAX), jitter=lambda: 0.5)
    pool.start(0.0)
    assert pool.fork_failed(0, 0.0) == [Finish(ExitCode.WORKER_START)]


@pytest.mark.parametrize(
    ("serves", "limit"), [(True, SERVED_PAUSE_MAX_SECONDS), (False, PAUSE_MAX)]
)
def test_a_worker_that_keeps_dying_young_is_replaced_at_growing_intervals(serves, limit):
    staff = running(1)
    pauses = []
    for pid in range(7):
        actions = staff.exited(pid, code=3)
        pauses.append(staff.pool.pause_before(0, staff.now) or 0.0)
        assert (actions or staff.tick(pauses[-1])) == [("fork", pid + 1)]
        if serves:
            staff.ready(pid + 1)
    assert pauses == [min(pause, limit) for pause in (0.0, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0)]


def test_no_number_of_deaths_is_too_much():
    staff = running(1)
    record = staff.pool._slots[0]
    record.deaths = 5000
    assert staff.exited(0, code=3) == []
    assert staff.pool.pause_before(0, staff.now) == SERVED_PAUSE_MAX_SECONDS


@pytest.mark.parametrize(("jitter", "factor"), [(0.0, 1 - JITTER), (1.0, 1 + JITTER)])
def test_pauses_are_spread(jitter, factor):
    staff = running(1, jitter=jitter)
    staff.exited(0, code=3)
    staff.exited(1, code=3)
    pause = staff.pool.pause_before(0, staff.now)
    assert pause == pytest.approx(FIRST_PAUSE_SECONDS * factor)


def test_a_long_life_clears_the_record():
    staff = running(1)
    staff.exited(0, code=3)
    staff.exited(1, code=3)
    staff.tick(FIRST_PAUSE_SECONDS)
    staff.now += YOUNG_SECONDS
    assert staff.exited(2, code=3) == [("fork", 3)]


def test_who_was_ready_and_is_killed_from_outside_is_replaced_at_once_each_time():
    staff = running(1)
    for pid in range(5):
        assert staff.exited(pid, number=signal.SIGKILL) == [("fork", pid + 1)]
        staff.ready(pid + 1)


def test_only_several_in_a_row_who_are_killed_before_they_are_ready_died_young():
    staff = running(1)
    staff.exited(0, code=3)
    for pid in range(1, EARLY_KILLS):
        assert staff.exited(pid, number=signal.SIGKILL) == [("fork", pid + 1)]
    assert staff.exited(EARLY_KILLS, number=signal.SIGKILL) == []
    assert staff.pool.pause_before(0, staff.now) == FIRST_PAUSE_SECONDS


def test_whom_the_kernel_kills_for_want_of_memory_died_young():
    staff = running(1)
    staff.exited(0, code=3)
    staff.ready(1)
    assert staff.do(staff.pool.exited(1, None, signal.SIGKILL, staff.now, oom=True)) == []
    assert staff.pool.pause_before(0, staff.now) == FIRST_PAUSE_SECONDS


@pytest.mark.parametrize("end", [{"code": 0}, {"code": 9}, {"number": signal.SIGSEGV}])
def test_who_left_when_asked_to_is_replaced_at_once(end):
    staff = running(1)
    for pid in range(3):
        assert staff.drain(pid) == [DrainWorker(pid, staff.now + DRAIN_TIME)]
        assert staff.pool.records[pid].expected
        assert staff.exited(pid, **end) == [("fork", pid + 1)]
        staff.ready(pid + 1)


def test_slots_are_replaced_apart_from_each_other():
    staff = running(2)
    staff.exited(0, code=3)
    staff.exited(1, code=3)
    assert staff.exited(10, code=3) == [("fork", 11)]


def test_without_respawn_nobody_is_replaced_and_the_last_to_go_ends_the_host():
    staff = running(2, respawn=False)
    assert staff.exited(0, code=3) == []
    assert staff.pool.deadline() is None
    assert staff.exited(10, number=signal.SIGKILL) == [Finish(ExitCode.WORKERS_GONE)]


def test_without_respawn_a_host_that_ends_starts_nobody():
    pool = running(1, respawn=False).pool
    assert pool.scale(2, 0.0) == [ForkWorker(1)]
    pool.fork_failed(1, 0.0)
    assert pool.exited(0, 3, None, 0.0) == [Finish(ExitCode.WORKERS_GONE)]
    assert pool.tick(1000.0) == []


def test_the_end_of_somebody_unknown_changes_nothing():
    staff = running()
    assert staff.exited(4711, code=0) == []


def test_more_slots_are_filled_at_once():
    staff = running(1)
    staff.generation += [0, 0]
    assert staff.scale(3) == [("fork", 10), ("fork", 20)]
    assert staff.ready(10) == []


def test_slots_beyond_the_number_drain_and_are_not_filled_again():
    staff = running(3)
    drained = [DrainWorker(10, staff.now + DRAIN_TIME), DrainWorker(20, staff.now + DRAIN_TIME)]
    assert staff.scale(1) == drained
    assert staff.exited(10, code=0) == []
    assert staff.exited(20, number=signal.SIGKILL) == []
    assert list(staff.pool.records) == [0]


def test_a_start_is_over_when_fewer_slots_are_ready():
    staff = Staff(2)
    staff.start()
    staff.ready(0)
    assert staff.scale(1) == [DrainWorker(10, staff.now + DRAIN_TIME), AllReady()]


def test_many_workers_are_started_a_few_at_a_moment():
    pool = Pool(PoolPolicy(20, True, START, DRAIN_TIME, PAUSE_MAX))
    assert pool.start(5.0) == [ForkWorker(slot) for slot in range(8)]
    assert pool.tick(5.0) == []
    assert 5.0 < pool.deadline() < 5.01
    assert pool.tick(5.1) == [ForkWorker(slot) for slot in range(8, 16)]
    assert pool.tick(5.2) == [ForkWorker(slot) for slot in range(16, 20)]
    assert pool.deadline() is None
