"""The pool: which workers there shall be. All decisions about starting, replacing and stopping.

The rules of this file
    It does no I/O and reads no clock. Facts go in (`ready(pid, now)`, `exited(pid, …, now)`), and
    actions come out, to be carried out in order by the supervisor. `deadline()` says when `tick`
    wants to be called.

States of a worker

    state      entered when                left when
    STARTING   it was forked               it says it is ready; or it ends, or start_timeout passes
    READY      it said so                  it ends, or is told to drain, or hangs
    DRAINING   it was told to drain        it ends; at the deadline it is ended
    ENDING     it is to be made to end     it ends: it prints its stacks, gets SIGABRT if it
                                           hung while it served, then SIGKILL

    A READY worker can be *retiring*: it serves, but its slot is being filled again, and when its
    successor is ready it is told to drain. So is every worker of an older generation.

What the end of a worker leads to

    while …            the worker was …           then
    first start        STARTING, or not forked    the host stops: WORKER_START
    running            of an older generation     nothing: its slot is filled by the new one
    running            retiring                   nothing: its successor is on its way
    running            anything, respawn          the slot is filled again, at once or after a pause
    running            anything, no respawn       nothing; when the last has gone: WORKERS_GONE
    stopping           anything                   nothing; when the last has gone: the host stops

The pause before a slot is filled again is 0 the first time, then doubles from 0.5 s up to a limit
while its workers keep dying young. The limit is `pause_max` for workers that never got ready, and
less for those that did: they serve between their deaths. A SIGKILL that neither the host nor
the kernel for want of memory has sent came from outside and says nothing about the next worker,
unless it meets several in a row before they are ready.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

from host.errors import ExitCode
from host.supervisor.workers.states import (
    AbortWorker,
    Action,
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

YOUNG_SECONDS = 10.0
"""A worker that lives longer than this has a clean record: the next end is its first."""
FIRST_PAUSE_SECONDS = 0.5
SERVED_PAUSE_MAX_SECONDS = 2.0
"""The longest pause after a worker that was ready: at most eight starts in ten seconds."""
EARLY_KILLS = 3
"""So many workers in a row that are killed before they are ready are no accident."""
JITTER = 0.2
GRACE_SECONDS = 0.2
"""How long after its deadline a draining worker is left to end by itself."""
QUICK_SECONDS = 1.0
"""How long a worker has to end when the host stops at once."""
FORKS_AT_ONCE = 8
"""Workers started at one moment: connections wait for them, and a fork may take 60 ms."""
_NEXT_MOMENT_SECONDS = 0.0001
DUMP_SECONDS = 0.15
"""How long a worker has to print its stacks; with the grace, half a second after its deadline it is
gone."""
ABORT_SECONDS = 0.5
"""How long a worker has to die of SIGABRT."""


@dataclass(slots=True, eq=False)
class _SlotHistory:
    """What is remembered of a slot: how often its workers died young, and when it is due."""

    deaths: int = 0
    early: int = 0
    due: float | None = None


class Pool:
    """The state machine of all workers.

    Args:
        policy: what the settings say.
        older: living workers of older generations, which serve until this one is ready.
        jitter: gives a number from 0 to 1, for the spread of pauses.

    Attributes:
        records: the living workers by pid.
        workers: how many slots there shall be.
        stopping: whether the host is stopping.
        complete: whether all slots have been ready at one time: the start is over.
        given_up: whether no worker is to be started, since this generation cannot start.
    """

    def __init__(
        self,
        policy: PoolPolicy,
        older: Iterable[WorkerRecord] = (),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.policy, self.generation, self.workers = policy, policy.generation, policy.workers
        self.records: dict[int, WorkerRecord] = {record.pid: record for record in older}
        self.stopping = self.given_up = False
        self._first = not self.records
        self._slots = {slot: _SlotHistory() for slot in range(policy.workers)}
        self._jitter = jitter
        self.complete = False
        self._forks_at, self._forks = -1.0, 0
        self._code = ExitCode.OK

    @property
    def ready_count(self) -> int:
        """How many workers of this generation are ready and stay."""
        return sum(self._stays(record, WorkerState.READY) for record in self.records.values())

    @property
    def was_complete(self) -> bool:
        """Whether all slots have been ready at one time, in this generation or one before.

        Before that the host is being started, and ends if one of its workers cannot be.
        """
        return self.complete or not self._first

    def deadline(self) -> float | None:
        """Return when `tick` is to be called next, or None."""
        times = [record.deadline for record in self.records.values()]
        if not self.given_up:
            times += [slot.due for slot in self._slots.values()]
        return min((time for time in times if time is not None), default=None)

    def start(self, now: float) -> list[Action]:
        """Fill all slots."""
        for slot in self._slots.values():
            slot.due = now
        return self.tick(now)

    def forked(self, slot: int, pid: int, now: float) -> WorkerRecord:
        """Take note of a worker that has been forked."""
        deadline = now + self.policy.start_timeout
        record = WorkerRecord(slot, pid, now, WorkerState.STARTING, deadline, self.generation)
        self.records[pid] = record
        return record

    def fork_failed(self, slot: int, now: float) -> list[Action]:
        """Take note that a fork failed: it is tried again, unless it was one of the first."""
        if not self.was_complete:
            return self._give_up(ExitCode.WORKER_START, now)
        self._slots[slot].due = now + self._pause(self._slots[slot], self.policy.pause_max)
        return []

    def ready(self, pid: int, now: float) -> list[Action]:
        """Take note that a worker says it is ready; who it replaces is told to drain."""
        record = self.records.get(pid)
        if record is None or record.state is not WorkerState.STARTING:
            return []
        record.state, record.deadline, record.was_ready = WorkerState.READY, None, True
        if record.generation == self.generation:
            self._slots[record.slot].early = 0
        actions: list[Action] = []
        if not self.complete and self.ready_count == self.workers:
            self.complete = True
            actions.append(AllReady())
        for other in self.records.values():
            if (
                other.retiring
                and other.slot == record.slot
                and other.generation == record.generation
            ):
                actions += self.drain(other.pid, now)
        return actions

    def drain_others(self, now: float, *, but: Container[int]) -> list[Action]:
        """Have the workers of all generations drain `but` those with these numbers."""
        pids = [each.pid for each in self.records.values() if each.generation not in but]
        return [action for pid in pids for action in self.drain(pid, now)]

    def drain(self, pid: int, now: float, deadline: float | None = None) -> list[Action]:
        """Make one worker leave, by `deadline` or else within the drain timeout."""
        record = self.records.get(pid)
        if record is None or record.state not in (WorkerState.STARTING, WorkerState.READY):
            return []
        if deadline is None:
            deadline = now + self.policy.drain_timeout
        gone_by = deadline + GRACE_SECONDS
        # Until it is ready it has a deadline for that, and serves nobody who would have to be
        # waited for.
        record.deadline = min(gone_by, record.deadline or gone_by)
        record.state, record.expected = WorkerState.DRAINING, True
        return [DrainWorker(pid, deadline)]

    def retire(self, pid: int, now: float) -> list[Action]:
        """Make one worker leave as soon as its successor is ready; at once if it gets none."""
        record = self.records.get(pid)
        if record is None or not self._stays(record, WorkerState.READY) or self.stopping:
            return []
        if not self.policy.respawn or self.given_up:
            return self.drain(pid, now)
        record.retiring = True
        self._slots[record.slot].due = now
        return self.tick(now)

    def hung(self, pid: int, now: float, cause: str) -> list[Action]:
        """Make a worker end whose loop does not turn any more."""
        record = self.records.get(pid)
        if record is None or record.state not in (WorkerState.READY, WorkerState.DRAINING):
            return []
        record.forced_end = (
            (DumpWorker(pid), DUMP_SECONDS),
            (AbortWorker(pid), ABORT_SECONDS),
            (KillWorker(pid, cause), 0.0),
        )
        record.state = WorkerState.ENDING
        return self._next_step(record, now)

    def scale(self, workers: int, now: float) -> list[Action]:
        """Set the number of slots: fill the new ones, drain the workers of those that go."""
        self.workers = workers
        actions: list[Action] = []
        for slot in range(workers):
            if slot not in self._slots:
                self._slots[slot] = _SlotHistory(due=now)
        for slot in [slot for slot in self._slots if slot >= workers]:
            del self._slots[slot]
        for record in self.records.values():
            if record.slot >= workers and record.generation == self.generation:
                actions += self.drain(record.pid, now)
        if not self.complete and self.ready_count == workers:
            self.complete = True
            actions.append(AllReady())
        return actions + self.tick(now)

    def exited(
        self, pid: int, code: int | None, number: int | None, now: float, *, oom: bool = False
    ) -> list[Action]:
        """Take note that a worker has ended, by exit `code` or by signal `number`.

        With `oom` the kernel killed it for want of memory.
        """
        record = self.records.pop(pid, None)
        if record is None:
            return []
        if self.stopping:
            if code != ExitCode.OK:
                self._worsen(ExitCode.CUT_SHORT)
            return self._finish_if_empty()
        if not (self.was_complete or record.was_ready):
            return self._give_up(ExitCode.WORKER_START, now)
        if not self.policy.respawn:
            return [] if self.records else self._give_up(ExitCode.WORKERS_GONE, now)
        if self._leaves_a_gap(record):
            outside = (
                number == signal.SIGKILL and not oom and record.state is not WorkerState.ENDING
            )
            self._plan_replacement(record, now, outside=outside)
        return self.tick(now)

    def stop(
        self, now: float, *, deadline: float | None = None, quick: bool = False
    ) -> list[Action]:
        """Make all workers leave: by `deadline`, or within the drain timeout, or at once."""
        self.stopping = True
        for slot in self._slots.values():
            slot.due = None
        actions: list[Action] = []
        for record in self.records.values():
            if quick:
                actions += self._hurry(record, now)
            else:
                actions += self.drain(record.pid, now, deadline)
        return actions + self._finish_if_empty()

    def tick(self, now: float) -> list[Action]:
        """Do what is due."""
        actions: list[Action] = []
        for record in self.records.values():
            if record.deadline is not None and record.deadline <= now:
                if record.state is not WorkerState.ENDING:
                    self._force_end(record)
                actions += self._next_step(record, now)
        if self.given_up:
            return actions
        for number, slot in self._slots.items():
            if slot.due is not None and slot.due <= now:
                if self._may_fork(now):
                    slot.due = None
                    actions.append(ForkWorker(number))
                else:
                    slot.due = now + _NEXT_MOMENT_SECONDS
        return actions

    def pause_before(self, slot: int, now: float) -> float | None:
        """Return in how many seconds the slot is filled again, or None if it is not to be."""
        history = self._slots.get(slot)
        if history is None or history.due is None or self.given_up:
            return None
        return max(0.0, history.due - now)

    def _may_fork(self, now: float) -> bool:
        """Count one more fork at this moment; False if there were enough, and it is to wait."""
        if now != self._forks_at:
            self._forks_at, self._forks = now, 0
        self._forks += 1
        return self._forks <= FORKS_AT_ONCE

    def _stays(self, record: WorkerRecord, *states: WorkerState) -> bool:
        """Tell whether a worker is one of those that this generation is made of."""
        return (
            record.generation == self.generation
            and not record.retiring
            and record.state in states
            and record.slot < self.workers
        )

    def _leaves_a_gap(self, record: WorkerRecord) -> bool:
        if record.generation != self.generation or record.slot not in self._slots:
            return False
        if self._slots[record.slot].due is not None:
            return False  # it is being filled already
        return not any(
            each.slot == record.slot and self._stays(each, WorkerState.STARTING, WorkerState.READY)
            for each in self.records.values()
        )

    def _force_end(self, record: WorkerRecord) -> None:
        """Begin to end a worker whose time is up: its stacks say what it was at."""
        if record.state is WorkerState.STARTING:
            cause = f"not ready after {self.policy.start_timeout:g} s (start_timeout_seconds)"
        elif record.was_ready:
            cause = "still there at the drain deadline"
        else:
            cause = "still starting when it was told to go"
        dump, kill = DumpWorker(record.pid), KillWorker(record.pid, cause)
        record.forced_end = ((dump, DUMP_SECONDS), (kill, 0.0))
        record.state = WorkerState.ENDING

    def _next_step(self, record: WorkerRecord, now: float) -> list[Action]:
        (action, seconds), *rest = record.forced_end
        record.forced_end = tuple(rest)
        record.deadline = now + seconds if rest else None
        return [action]

    def _hurry(self, record: WorkerRecord, now: float) -> list[Action]:
        """Have a worker end at once, unless it is about to."""
        soon = now + QUICK_SECONDS
        if record.state is WorkerState.ENDING or (
            record.state is WorkerState.DRAINING
            and record.deadline is not None
            and record.deadline <= soon
        ):
            return []
        record.state, record.deadline, record.expected = WorkerState.DRAINING, soon, True
        return [DrainWorker(record.pid, now)]

    def _plan_replacement(self, record: WorkerRecord, now: float, *, outside: bool) -> None:
        """Decide when a slot is filled again whose worker has ended.

        At once, if the end says nothing about the next worker: it was ready and the host wanted it
        to go or found it hung, or something outside the host (`outside`) has killed it. Otherwise
        after a pause, which grows with each worker of the slot that dies young. Several kills in a
        row before a worker is ready are no accident: from then on they count as deaths.
        """
        slot = self._slots[record.slot]
        if now - record.born >= YOUNG_SECONDS:
            slot.deaths = 0
        if outside and not record.was_ready:
            slot.early += 1
        if (record.was_ready and (record.expected or record.state is WorkerState.ENDING)) or (
            outside and slot.early < EARLY_KILLS
        ):
            slot.due = now
            return
        limit = self.policy.pause_max
        if record.was_ready:
            limit = min(limit, SERVED_PAUSE_MAX_SECONDS)
        slot.due = now + self._pause(slot, limit)

    def _pause(self, slot: _SlotHistory, limit: float) -> float:
        """Return how many seconds to wait after one more death in a slot, `limit` at most."""
        slot.deaths += 1
        if slot.deaths == 1:
            return 0.0
        # Beyond 2**16 the limit has long been reached; the power must not grow without end.
        pause = FIRST_PAUSE_SECONDS * 2.0 ** min(slot.deaths - 2, 16)
        return min(pause, limit) * (1 + JITTER * (2 * self._jitter() - 1))

    def _give_up(self, code: ExitCode, now: float) -> list[Action]:
        self._worsen(code)
        return self.stop(now, quick=True)

    def _worsen(self, code: ExitCode) -> None:
        if self._code is ExitCode.OK:
            self._code = code

    def _finish_if_empty(self) -> list[Action]:
        return [] if self.records else [Finish(self._code)]
