"""What the pool does about each fact: its tables, line by line."""

import signal

import pytest

from host.errors import ExitCode
from host.supervisor.workers.pool import (
    ABORT_SECONDS,
    DUMP_SECONDS,
    EARLY_KILLS,
    FIRST_PAUSE_SECONDS,
    GRACE_SECONDS,
    JITTER,
    QUICK_SECONDS,
    SERVED_PAUSE_MAX_SECONDS,
    YOUNG_SECONDS,
    Pool,
)
from host.supervisor.workers.states import (
    AbortWorker,
    AllReady,
    DrainWorker,
    DumpWorker,
    Finish,
    ForkWorker,
    KillWorker,
    PoolPolicy,
    WorkerRecord,
    WorkerState,
)

START, DRAIN_TIME, PAUSE_MAX = 30.0, 20.0, 4.0


class Staff:
    """A pool whose orders to fork are carried out: slot n gets the pids 10n, 10n+1, …"""

    def __init__(self, workers=2, respawn=True, jitter=0.5, older=(), first=0):
        policy = PoolPolicy(workers, respawn, START, DRAIN_TIME, PAUSE_MAX, generation=first)
        self.pool = Pool(policy, older, jitter=lambda: jitter)
        self.now = 100.0
        self.generation = [first] * workers

    def do(self, actions):
        """Carry out orders to fork; return the actions, with pids in place of slots."""
        done = []
        for action in actions:
            if isinstance(action, ForkWorker):
                pid = 10 * action.slot + self.generation[action.slot]
                self.generation[action.slot] += 1
                self.pool.forked(action.slot, pid, self.now)
                done.append(("fork", pid))
            else:
                done.append(action)
        return done

    def start(self):
        return self.do(self.pool.start(self.now))

    def ready(self, pid):
        return self.do(self.pool.ready(pid, self.now))

    def exited(self, pid, code=None, number=None):
        return self.do(self.pool.exited(pid, code, number, self.now))

    def tick(self, after=0.0):
        self.now += after
        return self.do(self.pool.tick(self.now))

    def stop(self, **how):
        return self.do(self.pool.stop(self.now, **how))

    def drain(self, pid):
        return self.do(self.pool.drain(pid, self.now))

    def retire(self, pid):
        return self.do(self.pool.retire(pid, self.now))

    def hung(self, pid):
        return self.do(self.pool.hung(pid, self.now, "it hangs"))

    def scale(self, workers):
        return self.do(self.pool.scale(workers, self.now))

    def state(self, pid):
        return self.pool.records[pid].state


def running(workers=2, **how):
    """A pool whose first start is over."""
    staff = Staff(workers, **how)
    staff.start()
    for slot in range(workers):
        staff.ready(10 * slot)
    return staff


# Starting


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
    pool = Pool(PoolPolicy(1, True, START, DRAIN_TIME, PAUSE_MAX), jitter=lambda: 0.5)
    assert pool.start(0.0) == [ForkWorker(0)]
    assert pool.fork_failed(0, 0.0) == 0.0
    assert pool.tick(0.0) == [ForkWorker(0)]
    assert pool.fork_failed(0, 0.0) == 0.5
    assert pool.tick(0.25) == []
    assert pool.pause_before(0, 0.25) == 0.25
    assert pool.tick(0.5) == [ForkWorker(0)]
    assert pool.pause_before(0, 0.5) is None
    assert pool.fork_failed(0, 0.5) == 1.0


# Replacing


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
    pool = Pool(PoolPolicy(2, False, START, DRAIN_TIME, PAUSE_MAX), jitter=lambda: 0.5)
    pool.start(0.0)
    pool.forked(0, 1, 0.0)
    pool.fork_failed(1, 0.0)
    pool.ready(1, 0.0)
    assert pool.exited(1, 3, None, 0.0) == [Finish(ExitCode.WORKERS_GONE)]
    assert pool.tick(1000.0) == []


def test_the_end_of_somebody_unknown_changes_nothing():
    staff = running()
    assert staff.exited(4711, code=0) == []


# Draining


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


# Hanging


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


# Retiring


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


def test_who_dies_retiring_has_a_successor_on_its_way():
    staff = running(1)
    staff.retire(0)
    assert staff.exited(0, code=3) == []
    assert staff.ready(1) == []


def test_without_respawn_who_retires_drains_at_once():
    staff = running(2, respawn=False)
    assert staff.retire(0) == [DrainWorker(0, staff.now + DRAIN_TIME)]


# Scaling


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


# Generations


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
    assert staff.do(staff.pool.release(staff.now, but=[5])) == [
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
    assert again.do(again.pool.release(again.now, but=(0, 6))) == [
        DrainWorker(99, again.now + DRAIN_TIME)
    ]
    assert again.state(0) is WorkerState.READY
    assert again.exited(99, code=0) == []


def test_a_generation_on_hold_starts_nobody():
    staff = succeeding()
    staff.pool.on_hold = True
    assert staff.exited(5, code=3) == []
    assert staff.tick(START) == [DumpWorker(15)]


def test_without_respawn_older_workers_keep_the_host():
    staff = succeeding(respawn=False)
    assert staff.exited(5, code=3) == []
    assert staff.exited(15, code=3) == []
    assert staff.exited(0, code=0) == []
    assert staff.exited(10, code=0) == [Finish(ExitCode.WORKERS_GONE)]


# Stopping


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
