"""Whatever happens to the workers, the pool keeps its promises."""

import signal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from host.errors import ExitCode
from host.supervisor.workers.pool import Pool
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

SECONDS = st.sampled_from([0.0, 0.1, 1.0, 7.0, 40.0])
ENDS = st.sampled_from(
    [(0, None), (1, None), (9, None), (None, signal.SIGKILL), (None, signal.SIGSEGV)]
)


class PoolMachine(RuleBasedStateMachine):
    """A supervisor and its workers, at the mercy of whoever kills, asks, and waits."""

    @initialize(
        workers=st.integers(1, 3),
        respawn=st.booleans(),
        jitter=st.sampled_from([0.0, 0.5, 1.0]),
        older=st.lists(st.integers(0, 3), max_size=4),
    )
    def start(self, workers, respawn, jitter, older):
        """Begin; `older` are the slots of workers of the generation before, after a reload."""
        self.policy = PoolPolicy(
            workers, respawn, start_timeout=5.0, drain_timeout=3.0, pause_max=8.0, generation=1
        )
        before = [
            WorkerRecord(
                slot, 1000 + number, 0.0, WorkerState.READY, None, generation=0, was_ready=True
            )
            for number, slot in enumerate(older)
        ]
        self.pool = Pool(self.policy, before, jitter=lambda: jitter)
        self.now, self.pid = 0.0, 0
        self.alive: dict[int, int] = {each.pid: each.slot for each in before}  # slot by pid
        self.killed: set[int] = set()
        self.doomed: set[int] = set()
        self.draining: dict[int, float] = {}
        self.told_ready = 0
        self.finished: ExitCode | None = None
        self.fork_fails = False
        self.do(self.pool.start(self.now))

    def do(self, actions):
        for action in actions:
            assert self.finished is None, "the host acts after its end"
            match action:
                case ForkWorker(slot):
                    if self.pool.stopping:
                        assert self.fork_fails, "a worker is started although the host stops"
                        continue
                    assert not self.staying(slot), "two workers for one slot"
                    if self.fork_fails:
                        self.do(self.pool.fork_failed(slot, self.now))
                        pause = self.pool.pause_before(slot, self.now)
                        most = self.policy.pause_max * 1.2 + 1e-6  # times are rounded
                        assert self.pool.stopping or 0 <= pause <= most
                    else:
                        self.pid += 1
                        self.alive[self.pid] = slot
                        self.pool.forked(slot, self.pid, self.now)
                case DrainWorker(pid, deadline):
                    assert pid in self.alive
                    assert pid not in self.killed
                    assert deadline <= self.draining.get(pid, deadline), "a deadline is put off"
                    self.draining[pid] = deadline
                case DumpWorker(pid) | AbortWorker(pid):
                    assert pid in self.alive
                    assert pid not in self.killed, "a worker that was killed is to do something"
                    self.doomed.add(pid)
                case KillWorker(pid, cause):
                    assert pid in self.doomed, "a worker is killed without having printed"
                    assert pid in self.alive
                    assert pid not in self.killed, "a worker is killed twice"
                    assert cause
                    self.killed.add(pid)
                case AllReady():
                    self.told_ready += 1
                    assert self.pool.ready_count == self.pool.workers
                    self.do(self.pool.drain_others(self.now, but=[1]))
                case Finish(code):
                    assert not self.alive, "the host ends before its workers"
                    self.finished = code

    def staying(self, slot):
        """The workers that a slot counts on."""
        return [
            pid
            for pid, record in self.pool.records.items()
            if record.slot == slot
            and record.generation == self.pool.generation
            and not record.retiring
            and record.state in (WorkerState.STARTING, WorkerState.READY)
        ]

    def some(self, data):
        return data.draw(st.sampled_from(sorted(self.alive)))

    @rule(seconds=SECONDS)
    def wait(self, seconds):
        """Time passes, and the pool is called when it wants to be."""
        until = self.now + seconds
        for _ in range(50):
            due = self.pool.deadline()
            if due is None or due > until or self.finished is not None:
                break
            self.now = max(self.now, due)
            actions = self.pool.tick(self.now)
            later = self.pool.deadline()  # forks that are too many at one moment wait for the next
            put_off = later is not None and later > self.now
            assert actions or put_off, "the pool wanted to be called for nothing"
            self.do(actions)
            if self.fork_fails and self.pool.deadline() == self.now:
                self.fork_fails = False
        self.now = until

    @rule()
    def tick_early(self):
        """A call that is not due does nothing."""
        due = self.pool.deadline()
        if due is None or due > self.now:
            assert self.pool.tick(self.now) == []

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def says_ready(self, data):
        self.do(self.pool.ready(self.some(data), self.now))

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), end=ENDS)
    def ends(self, data, end):
        pid = self.some(data)
        self.bury(pid, *end)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def retires(self, data):
        self.do(self.pool.retire(self.some(data), self.now))

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def hangs(self, data):
        self.do(self.pool.hung(self.some(data), self.now, "it hangs"))

    @precondition(lambda self: self.finished is None and not self.pool.stopping)
    @rule(workers=st.integers(1, 4))
    def is_scaled(self, workers):
        self.do(self.pool.scale(workers, self.now))

    def bury(self, pid, code, number):
        del self.alive[pid]
        self.draining.pop(pid, None)
        self.do(self.pool.exited(pid, code, number, self.now))

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def is_asked_to_leave(self, data):
        self.do(self.pool.drain(self.some(data), self.now))

    @precondition(lambda self: self.finished is None)
    @rule(quick=st.booleans())
    def is_stopped(self, quick):
        self.do(self.pool.stop(self.now, quick=quick))

    @rule(fails=st.booleans())
    def forking_is_possible(self, fails):
        self.fork_fails = fails

    @invariant()
    def the_pool_knows_who_lives(self):
        assert {pid: record.slot for pid, record in self.pool.records.items()} == self.alive
        assert self.told_ready <= 1
        doomed = {
            pid for pid, each in self.pool.records.items() if each.state is WorkerState.ENDING
        }
        assert doomed == self.doomed & self.alive.keys()
        assert self.killed <= self.doomed

    @invariant()
    def nothing_is_forgotten(self):
        """Each slot has a worker or a time at which it gets one, unless there is to be none."""
        if self.pool.stopping or not self.policy.respawn or self.finished is not None:
            return
        for slot in range(self.pool.workers):
            if slot not in self.alive.values():
                assert self.pool.pause_before(slot, self.now) is not None

    @invariant()
    def everybody_who_leaves_has_a_deadline(self):
        for record in self.pool.records.values():
            leaving = record.state in (WorkerState.STARTING, WorkerState.DRAINING) or bool(
                record.forced_end
            )
            assert (record.deadline is not None) is leaving

    def teardown(self):
        """A host that is told to stop always ends, whatever its workers do."""
        if not hasattr(self, "pool") or self.finished is not None:
            return
        self.do(self.pool.stop(self.now))
        for _ in range(100):
            if self.finished is not None:
                return
            for pid in sorted(self.killed & self.alive.keys()):
                self.bury(pid, None, signal.SIGKILL)
            due = self.pool.deadline()
            if due is not None:
                self.now = max(self.now, due)
                self.do(self.pool.tick(self.now))
        assert self.finished is not None, "the host does not end"


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=40)
