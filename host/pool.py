"""The pool: which workers there shall be. All decisions about starting, replacing and stopping.

The rules of this file
    It does no I/O and reads no clock. Facts go in (`ready(pid, now)`, `exited(pid, …, now)`), and
    actions come out, to be carried out in order by the supervisor. `deadline()` says when `tick`
    wants to be called.

States of a worker

    state      entered when            left when
    STARTING   it was forked           it says it is ready; or it ends, or start_timeout passes
    READY      it said so              it ends, or is told to drain
    DRAINING   it was told to drain    it ends; at the deadline it is killed
    KILLED     it was sent SIGKILL     it ends

What the end of a worker leads to

    while …            the worker was …           then
    first start        STARTING                   the host stops: WORKER_START
    running            anything, respawn          the slot is filled again, at once or after a pause
    running            anything, no respawn       nothing; when the last has gone: WORKERS_GONE
    stopping           anything                   nothing; when the last has gone: the host stops

The pause before a slot is filled again is 0 the first time, then doubles from 0.5 s up to the limit
while its workers keep dying young. A worker that was ready and then ended by SIGKILL does not
count as one that dies young: somebody or something outside decided that, and it says nothing
about the next one.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from host.errors import ExitCode

YOUNG_SECONDS = 10.0
"""A worker that lives longer than this has a clean record: the next end is its first."""
FIRST_PAUSE_SECONDS = 0.5
JITTER = 0.2
GRACE_SECONDS = 0.25
"""How long after its deadline a draining worker is left to end by itself."""
QUICK_SECONDS = 1.0
"""How long a worker has to end when the host stops at once."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings say about the pool.

    Attributes:
        workers: how many slots.
        respawn: whether a worker that ends is replaced.
        start_timeout: seconds a worker has to become ready.
        drain_timeout: seconds a draining worker has to end.
        pause_max: the longest pause in seconds before a slot is filled again.
    """

    workers: int
    respawn: bool
    start_timeout: float
    drain_timeout: float
    pause_max: float


@dataclass(frozen=True, slots=True)
class Fork:
    """Start a worker in this slot; then call `forked` or `fork_failed`."""

    slot: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell a worker to drain until `deadline`."""

    pid: int
    deadline: float


@dataclass(frozen=True, slots=True)
class Kill:
    """Send SIGKILL, because of `cause`."""

    pid: int
    cause: str


@dataclass(frozen=True, slots=True)
class Ready:
    """Tell that all slots are ready for the first time."""


@dataclass(frozen=True, slots=True)
class Finish:
    """End the supervisor; no worker is left."""

    code: ExitCode


Action = Fork | Drain | Kill | Ready | Finish


class State(Enum):
    """Where a worker is in its life."""

    STARTING = auto()
    READY = auto()
    DRAINING = auto()
    KILLED = auto()


@dataclass(slots=True)
class Member:
    """One living worker.

    Attributes:
        slot: its slot.
        pid: its process id.
        born: when it was forked.
        state: where it is in its life.
        deadline: when its state must have been left, or None.
        was_ready: whether it ever got ready.
        expected: whether it was asked to go.
    """

    slot: int
    pid: int
    born: float
    state: State
    deadline: float | None
    was_ready: bool = False
    expected: bool = False


@dataclass(slots=True)
class _Record:
    """What is remembered of a slot: how often its workers died young, and when it is due."""

    deaths: int = 0
    due: float | None = None


class Pool:
    """The state machine of all workers.

    Args:
        policy: what the settings say.
        jitter: gives a number from 0 to 1, for the spread of pauses.

    Attributes:
        members: the living workers by pid.
        stopping: whether the host is stopping.
    """

    def __init__(self, policy: Policy, jitter: Callable[[], float] = random.random) -> None:
        self.policy = policy
        self.members: dict[int, Member] = {}
        self.stopping = False
        self._records = {slot: _Record() for slot in range(policy.workers)}
        self._jitter = jitter
        self._complete = False
        self._code = ExitCode.OK

    @property
    def ready_count(self) -> int:
        """How many workers are ready."""
        return sum(member.state is State.READY for member in self.members.values())

    @property
    def complete(self) -> bool:
        """Whether all slots have been ready at one time: the first start is over."""
        return self._complete

    def deadline(self) -> float | None:
        """Return when `tick` is to be called next, or None."""
        times = [member.deadline for member in self.members.values()]
        times += [record.due for record in self._records.values()]
        return min((time for time in times if time is not None), default=None)

    def start(self, now: float) -> list[Action]:
        """Fill all slots."""
        for record in self._records.values():
            record.due = now
        return self.tick(now)

    def forked(self, slot: int, pid: int, now: float) -> None:
        """Take note of a worker that has been forked."""
        self.members[pid] = Member(slot, pid, now, State.STARTING, now + self.policy.start_timeout)

    def fork_failed(self, slot: int, now: float) -> float:
        """Take note that a fork failed; return after how many seconds it is tried again."""
        pause = self._pause(self._records[slot])
        self._records[slot].due = now + pause
        return pause

    def ready(self, pid: int, now: float) -> list[Action]:
        """Take note that a worker says it is ready."""
        member = self.members.get(pid)
        if member is None or member.state is not State.STARTING:
            return []
        member.state, member.deadline, member.was_ready = State.READY, None, True
        if not self._complete and self.ready_count == self.policy.workers:
            self._complete = True
            return [Ready()]
        return []

    def drain(self, pid: int, now: float, deadline: float | None = None) -> list[Action]:
        """Make one worker leave, by `deadline` or else within the drain timeout."""
        member = self.members.get(pid)
        if member is None or member.state not in (State.STARTING, State.READY):
            return []
        if deadline is None:
            deadline = now + self.policy.drain_timeout
        member.state, member.expected = State.DRAINING, True
        member.deadline = deadline + GRACE_SECONDS
        return [Drain(pid, deadline)]

    def exited(self, pid: int, code: int | None, number: int | None, now: float) -> list[Action]:
        """Take note that a worker has ended, by exit `code` or by signal `number`."""
        member = self.members.pop(pid, None)
        if member is None:
            return []
        if self.stopping:
            if code != ExitCode.OK:
                self._worsen(ExitCode.CUT_SHORT)
            return self._finish_if_empty()
        if not self._complete and not member.was_ready:
            return self._give_up(ExitCode.WORKER_START, now)
        if not self.policy.respawn:
            return [] if self.members else self._give_up(ExitCode.WORKERS_GONE, now)
        self._plan_replacement(member, number, now)
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
                actions.append(Kill(member.pid, self._overdue(member)))
                member.state, member.deadline, member.expected = State.KILLED, None, True
        for slot, record in self._records.items():
            if record.due is not None and record.due <= now:
                record.due = None
                actions.append(Fork(slot))
        return actions

    def pause_before(self, slot: int, now: float) -> float | None:
        """Return in how many seconds the slot is filled again, or None if it is not to be."""
        due = self._records[slot].due
        return None if due is None else max(0.0, due - now)

    # Inside

    def _hurry(self, member: Member, now: float) -> list[Action]:
        """Have a worker end at once, unless it is about to."""
        soon = now + QUICK_SECONDS
        if member.state is State.KILLED or (
            member.state is State.DRAINING
            and member.deadline is not None
            and member.deadline <= soon
        ):
            return []
        member.state, member.deadline, member.expected = State.DRAINING, soon, True
        return [Drain(member.pid, now)]

    def _overdue(self, member: Member) -> str:
        if member.state is State.STARTING:
            return f"not ready after {self.policy.start_timeout:g} s (start_timeout_seconds)"
        return "still there at the drain deadline"

    def _plan_replacement(self, member: Member, number: int | None, now: float) -> None:
        record = self._records[member.slot]
        killed = member.was_ready and number == signal.SIGKILL
        if now - member.born >= YOUNG_SECONDS:
            record.deaths = 0
        if (member.expected and member.was_ready) or killed:
            record.due = now
        else:
            record.due = now + self._pause(record)

    def _pause(self, record: _Record) -> float:
        record.deaths += 1
        if record.deaths == 1:
            return 0.0
        # Beyond 2**16 the limit has long been reached; the power must not grow without end.
        pause = FIRST_PAUSE_SECONDS * 2.0 ** min(record.deaths - 2, 16)
        return min(pause, self.policy.pause_max) * (1 + JITTER * (2 * self._jitter() - 1))

    def _give_up(self, code: ExitCode, now: float) -> list[Action]:
        self._worsen(code)
        return self.stop(now, quick=True)

    def _worsen(self, code: ExitCode) -> None:
        if self._code is ExitCode.OK:
            self._code = code

    def _finish_if_empty(self) -> list[Action]:
        return [] if self.members else [Finish(self._code)]
