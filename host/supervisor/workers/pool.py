"""The pool: which workers there shall be. All decisions about starting, replacing and stopping.

The rules of this file
    It does no I/O and reads no clock. Facts go in (`ready(pid, now)`, `exited(pid, …, now)`), and
    actions come out, to be carried out in order by the supervisor. `deadline()` says when `tick`
    wants to be called.

States of a worker

    state      entered when                left when
    STARTING   it was forked               it says it is ready; or it ends, or start_timeout passes
    READY      it said so                  it ends, or is told to drain, or hangs
    DRAINING   it was told to drain        it ends; at the deadline it is doomed
    DOOMED     it is to be made to end     it ends: it prints its stacks, gets SIGABRT if it
                                           hung while it served, then SIGKILL

    A READY worker can be *retiring*: it serves, but its slot is being filled again, and when its
    successor is ready it is told to drain. So is every worker of an older generation.

What the end of a worker leads to

    while …            the worker was …           then
    first start        STARTING                   the host stops: WORKER_START
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
DUMP_SECONDS = 0.15
"""How long a worker has to print its stacks."""
ABORT_SECONDS = 0.5
"""How long a worker has to die of SIGABRT."""


@dataclass(slots=True)
class _Record:
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
        members: the living workers by pid.
        workers: how many slots there shall be.
        stopping: whether the host is stopping.
        on_hold: whether nobody is to be started, since this generation cannot.
    """

    def __init__(
        self,
        policy: PoolPolicy,
        older: Iterable[WorkerRecord] = (),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.policy, self.generation, self.workers = policy, policy.generation, policy.workers
        self.members: dict[int, WorkerRecord] = {member.pid: member for member in older}
        self.stopping = self.on_hold = False
        self._first = not self.members
        self._records = {slot: _Record() for slot in range(policy.workers)}
        self._jitter = jitter
        self._complete = False
        self._code = ExitCode.OK

    @property
    def ready_count(self) -> int:
        """How many workers of this generation are ready and stay."""
        return sum(self._stays(member, WorkerState.READY) for member in self.members.values())

    @property
    def complete(self) -> bool:
        """Whether all slots have been ready at one time: the start is over."""
        return self._complete

    @property
    def was_complete(self) -> bool:
        """Whether all slots have been ready at one time, in this generation or one before."""
        return self._complete or not self._first

    def deadline(self) -> float | None:
        """Return when `tick` is to be called next, or None."""
        times = [member.deadline for member in self.members.values()]
        if not self.on_hold:
            times += [record.due for record in self._records.values()]
        return min((time for time in times if time is not None), default=None)

    def start(self, now: float) -> list[Action]:
        """Fill all slots."""
        for record in self._records.values():
            record.due = now
        return self.tick(now)

    def forked(self, slot: int, pid: int, now: float) -> WorkerRecord:
        """Take note of a worker that has been forked."""
        deadline = now + self.policy.start_timeout
        member = WorkerRecord(slot, pid, now, WorkerState.STARTING, deadline, self.generation)
        self.members[pid] = member
        return member

    def fork_failed(self, slot: int, now: float) -> float:
        """Take note that a fork failed; return after how many seconds it is tried again."""
        pause = self._pause(self._records[slot], self.policy.pause_max)
        self._records[slot].due = now + pause
        return pause

    def ready(self, pid: int, now: float) -> list[Action]:
        """Take note that a worker says it is ready; who it replaces is told to drain."""
        member = self.members.get(pid)
        if member is None or member.state is not WorkerState.STARTING:
            return []
        member.state, member.deadline, member.was_ready = WorkerState.READY, None, True
        if member.generation == self.generation:
            self._records[member.slot].early = 0
        actions: list[Action] = []
        if not self._complete and self.ready_count == self.workers:
            self._complete = True
            actions.append(AllReady())
        for other in self.members.values():
            if (
                other.retiring
                and other.slot == member.slot
                and member.generation == self.generation == other.generation
            ):
                actions += self.drain(other.pid, now)
        return actions

    def release(self, now: float, *, but: Container[int]) -> list[Action]:
        """Have the workers of all generations drain `but` those with these numbers."""
        pids = [each.pid for each in self.members.values() if each.generation not in but]
        return [action for pid in pids for action in self.drain(pid, now)]

    def drain(self, pid: int, now: float, deadline: float | None = None) -> list[Action]:
        """Make one worker leave, by `deadline` or else within the drain timeout."""
        member = self.members.get(pid)
        if member is None or member.state not in (WorkerState.STARTING, WorkerState.READY):
            return []
        if deadline is None:
            deadline = now + self.policy.drain_timeout
        member.state, member.expected = WorkerState.DRAINING, True
        member.deadline = deadline + GRACE_SECONDS
        return [DrainWorker(pid, deadline)]

    def retire(self, pid: int, now: float) -> list[Action]:
        """Make one worker leave as soon as its successor is ready; at once if it gets none."""
        member = self.members.get(pid)
        if member is None or not self._stays(member, WorkerState.READY) or self.stopping:
            return []
        if not self.policy.respawn or self.on_hold:
            return self.drain(pid, now)
        member.retiring = True
        self._records[member.slot].due = now
        return self.tick(now)

    def hung(self, pid: int, now: float, cause: str) -> list[Action]:
        """Make a worker end whose loop does not turn any more."""
        member = self.members.get(pid)
        if member is None or member.state not in (WorkerState.READY, WorkerState.DRAINING):
            return []
        member.forced_end = (
            (DumpWorker(pid), DUMP_SECONDS),
            (AbortWorker(pid), ABORT_SECONDS),
            (KillWorker(pid, cause), 0.0),
        )
        member.state = WorkerState.ENDING
        return self._next_step(member, now)

    def scale(self, workers: int, now: float) -> list[Action]:
        """Have so many slots from now on: fill the new ones, drain those beyond."""
        self.workers = workers
        actions: list[Action] = []
        for slot in range(workers):
            if slot not in self._records:
                self._records[slot] = _Record(due=now)
        for slot in [slot for slot in self._records if slot >= workers]:
            del self._records[slot]
        for member in self.members.values():
            if member.slot >= workers and member.generation == self.generation:
                actions += self.drain(member.pid, now)
        if not self._complete and self.ready_count == workers:
            self._complete = True
            actions.append(AllReady())
        return actions + self.tick(now)

    def exited(
        self, pid: int, code: int | None, number: int | None, now: float, *, oom: bool = False
    ) -> list[Action]:
        """Take note that a worker has ended, by exit `code` or by signal `number`.

        With `oom` the kernel killed it for want of memory.
        """
        member = self.members.pop(pid, None)
        if member is None:
            return []
        if self.stopping:
            if code != ExitCode.OK:
                self._worsen(ExitCode.CUT_SHORT)
            return self._finish_if_empty()
        if self._first and not self._complete and not member.was_ready:
            return self._give_up(ExitCode.WORKER_START, now)
        if not self.policy.respawn:
            return [] if self.members else self._give_up(ExitCode.WORKERS_GONE, now)
        if self._leaves_a_gap(member):
            outside = (
                number == signal.SIGKILL and not oom and member.state is not WorkerState.ENDING
            )
            self._plan_replacement(member, now, outside=outside)
        return self.tick(now)

    def stop(
        self, now: float, *, deadline: float | None = None, quick: bool = False
    ) -> list[Action]:
        """Make all workers leave: by `deadline`, or within the drain timeout, or at once."""
        self.stopping = True
        for record in self._records.values():
            record.due = None
        actions: list[Action] = []
        for member in self.members.values():
            if quick:
                actions += self._hurry(member, now)
            else:
                actions += self.drain(member.pid, now, deadline)
        return actions + self._finish_if_empty()

    def tick(self, now: float) -> list[Action]:
        """Do what is due."""
        actions: list[Action] = []
        for member in self.members.values():
            if member.deadline is not None and member.deadline <= now:
                if member.state is not WorkerState.ENDING:
                    self._force_end(member)
                actions += self._next_step(member, now)
        if self.on_hold:
            return actions
        for slot, record in self._records.items():
            if record.due is not None and record.due <= now:
                record.due = None
                actions.append(ForkWorker(slot))
        return actions

    def pause_before(self, slot: int, now: float) -> float | None:
        """Return in how many seconds the slot is filled again, or None if it is not to be."""
        record = self._records.get(slot)
        if record is None or record.due is None or self.on_hold:
            return None
        return max(0.0, record.due - now)

    # Inside

    def _stays(self, member: WorkerRecord, *states: WorkerState) -> bool:
        """Tell whether a worker is one of those that this generation is made of."""
        return (
            member.generation == self.generation
            and not member.retiring
            and member.state in states
            and member.slot < self.workers
        )

    def _leaves_a_gap(self, member: WorkerRecord) -> bool:
        if member.generation != self.generation or member.slot not in self._records:
            return False
        if self._records[member.slot].due is not None:
            return False  # it is being filled already
        return not any(
            each.slot == member.slot and self._stays(each, WorkerState.STARTING, WorkerState.READY)
            for each in self.members.values()
        )

    def _force_end(self, member: WorkerRecord) -> None:
        """Begin to end a worker whose time is up: its stacks say what it was at."""
        if member.state is WorkerState.STARTING:
            cause = f"not ready after {self.policy.start_timeout:g} s (start_timeout_seconds)"
        else:
            cause = "still there at the drain deadline"
        member.forced_end = (
            (DumpWorker(member.pid), DUMP_SECONDS),
            (KillWorker(member.pid, cause), 0.0),
        )
        member.state, member.expected = WorkerState.ENDING, True

    def _next_step(self, member: WorkerRecord, now: float) -> list[Action]:
        (action, seconds), *rest = member.forced_end
        member.forced_end = tuple(rest)
        member.deadline = now + seconds if rest else None
        return [action]

    def _hurry(self, member: WorkerRecord, now: float) -> list[Action]:
        """Have a worker end at once, unless it is about to."""
        soon = now + QUICK_SECONDS
        if member.state is WorkerState.ENDING or (
            member.state is WorkerState.DRAINING
            and member.deadline is not None
            and member.deadline <= soon
        ):
            return []
        member.state, member.deadline, member.expected = WorkerState.DRAINING, soon, True
        return [DrainWorker(member.pid, now)]

    def _plan_replacement(self, member: WorkerRecord, now: float, *, outside: bool) -> None:
        record = self._records[member.slot]
        if now - member.born >= YOUNG_SECONDS:
            record.deaths = 0
        if outside and not member.was_ready:
            record.early += 1
        if (member.was_ready and (member.expected or member.state is WorkerState.ENDING)) or (
            outside and record.early < EARLY_KILLS
        ):
            record.due = now
            return
        limit = self.policy.pause_max
        if member.was_ready:
            limit = min(limit, SERVED_PAUSE_MAX_SECONDS)
        record.due = now + self._pause(record, limit)

    def _pause(self, record: _Record, limit: float) -> float:
        record.deaths += 1
        if record.deaths == 1:
            return 0.0
        # Beyond 2**16 the limit has long been reached; the power must not grow without end.
        pause = FIRST_PAUSE_SECONDS * 2.0 ** min(record.deaths - 2, 16)
        return min(pause, limit) * (1 + JITTER * (2 * self._jitter() - 1))

    def _give_up(self, code: ExitCode, now: float) -> list[Action]:
        self._worsen(code)
        return self.stop(now, quick=True)

    def _worsen(self, code: ExitCode) -> None:
        if self._code is ExitCode.OK:
            self._code = code

    def _finish_if_empty(self) -> list[Action]:
        return [] if self.members else [Finish(self._code)]
