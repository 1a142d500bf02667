"""Exact dispatch: how many notifications are needed, and which worker gets each.

The rules of this file
    It does no I/O. Facts come in (`ready`, `gone`, a function that tells a queue's length, the
    scoreboard's counters, `now`), and notifications to send come out.

Theory of operation
    For a listener, `need = queue length - sum over live, unsuspended slots (sent - claimed)`: the
    connections that wait, less the notifications that will still be acted on.

    The worker raises `claimed` *before* it calls accept(); the supervisor reads the queue length
    *before* it reads the claims. Let it read the length Q at t1, and the claims at t2 > t1. After
    the pass at least Q notifications are sent and were unclaimed at t2. Each will be claimed
    later, and then accept() is called; so at least Q calls of accept() begin after t2. accept()
    takes the connection that waits longest. Whatever of the Q had not been taken by t2 is taken
    by these calls, before anything that came later: none of the Q stays behind. So the only
    possible error is a notification too many, whose accept() finds nothing (`spurious`), never one
    too few. (Had the claims been read first, a claim and its accept() between the two reads would
    have been missing from both.) Connections that come after t1 make an edge, and so a pass.

    The argument needs notifications to be acted on. Where a worker dies, hangs, or stops between
    claim and accept(), its exit or the missed-claim timer brings the next pass, which counts on it
    no more. The timer runs as long as a queue was not seen empty.

    The one error is common only while an accept is under way at t1: its connection is in Q, its
    claim made. It would do no harm, but a worker would get a connection that was meant for another
    one. So the pass reads `settled` before Q and `claimed` after it. If they are equal, no accept
    was under way and the need is exact. Else it reads again, a few times; and if that does
    not help (the worker was preempted between claim and accept) it counts the accepts under
    way as if each still had to take one of the Q, sends what is needed even so, and takes a
    second look a millisecond later. Only when the doubt has lasted as long as a missed claim (the
    worker is stopped just there) it sends what the argument above asks for. Thus without faults
    nothing is spurious, and what a scheduler decides is what happens; with faults nobody
    waits longer than for any missed claim.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from host.errors import NoCandidateError
from host.events import WORKER_RESUMED, WORKER_SUSPENDED
from host.scoreboard import (
    ACCEPTED_ALL,
    ACTIVE,
    CLAIMED,
    CLAIMED_ALL,
    HELD_BACK,
    SENT,
    SETTLED,
    SUSPENDED,
    TURN_LASTED,
    TURN_STARTED,
    Cells,
    Row,
)
from host.telemetry import Telemetry
from host.views import Listener, WorkerView

Scheduler = Callable[[Listener, Sequence[WorkerView]], WorkerView | None]
Report = Callable[[str, str, BaseException, tuple[object, ...]], None]

REREADS = 4
"""How often a pass reads while an accept is under way: each takes about 3 µs, like an accept."""
LOOK_AGAIN = 0.2
"""How often claims are looked at while some are outstanding, in parts of `missed_claim_ms`: so
much later than that a worker is suspended at the most."""
SECOND_LOOK_SECONDS = 0.001
"""When a pass is repeated that found an accept under way to the last."""


class Candidate:
    """A ready worker: what schedulers see of it, and what was sent to it.

    Attributes:
        suspended: it has missed a claim and has not caught up since.
        eligible: schedulers may choose it in the present pass.
    """

    __slots__ = (
        "_clock",
        "_row",
        "_seen",
        "_since",
        "eligible",
        "generation",
        "pid",
        "sent",
        "slot",
        "suspended",
    )

    def __init__(self, row: Row, pid: int, generation: int, clock: Callable[[], float]) -> None:
        self._row, self._clock = row, clock
        self.slot, self.pid, self.generation = row.slot, pid, generation
        self.sent = row.get(CLAIMED_ALL)
        self._seen, self._since = self.sent, 0.0  # the claims at the last look; since when
        self.suspended = False
        self.eligible = False

    def __repr__(self) -> str:
        return f"<worker {self.slot} (pid {self.pid})>"

    @property
    def active(self) -> int:
        """Connections open now."""
        return self._row.get(ACTIVE)

    @property
    def outstanding(self) -> int:
        """Notifications sent and not yet claimed."""
        return self.sent - self._row.get(CLAIMED_ALL)

    @property
    def load(self) -> int:
        """Connections that are open or will be: never too few.

        A worker that acts on a notification raises `active` first; so it is read last here.
        """
        return self.outstanding + self.active

    @property
    def accepted(self) -> int:
        """Connections accepted so far in this slot."""
        return self._row.get(ACCEPTED_ALL)

    @property
    def loop_lag_seconds(self) -> float:
        """How long the present or, between turns, the last loop turn has taken."""
        started = self._row.get(TURN_STARTED)
        if not started:
            return self._row.get(TURN_LASTED) / 1e9
        return max(0.0, self._clock() - started / 1e9)

    @property
    def held_back(self) -> bool:
        """Whether the worker itself asks for nothing more at the moment."""
        return self._row.get(HELD_BACK) != 0

    def cell(self, listener: int, counter: int) -> int:
        """Return the index of one of the row's counters in the scoreboard's cells."""
        return self._row.cell(listener, counter)

    def note_sent(self, listener: int, amount: int) -> None:
        """Count notifications that are about to be sent (or, if negative, were not sent)."""
        self.sent += amount
        self._row.add(listener, SENT, amount)

    def expect_claims(self, now: float) -> None:
        """Begin to wait for claims, unless some are outstanding already."""
        if self.outstanding == 0:
            self._seen, self._since = self.sent, now

    def silent_since(self, now: float) -> float | None:
        """Return since when it has claimed nothing, or None if there is nothing to claim.

        A worker that goes on claiming is busy and not hung, however long the last one takes.
        """
        claimed = self._row.get(CLAIMED_ALL)
        if claimed == self.sent:
            return None
        if claimed != self._seen:
            self._seen, self._since = claimed, now
        return self._since

    def suspend(self) -> None:
        """Count no more on what was sent, until the worker has caught up."""
        self.suspended = True
        self._row.put(SUSPENDED, self._row.get(SUSPENDED) + 1)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings say about dispatch.

    Attributes:
        max_connections: how many connections one worker may hold.
        missed_claim_seconds: how long a worker may take to claim a notification.
    """

    max_connections: int
    missed_claim_seconds: float


class Dispatcher:
    """Decides which worker takes each waiting connection.

    Args:
        cells: the scoreboard's cells.
        listeners: all listeners, each with the function that tells its queue length.
        schedulers: name and function of each plugin with `choose_worker`, in order.
        policy: what the settings say.
        report: tells of a failed scheduler.
        telemetry: where suspensions are told.
        clock: the monotonic clock, for the loop lag that views show.
    """

    def __init__(
        self,
        cells: Cells,
        listeners: Sequence[tuple[Listener, Callable[[], int]]],
        schedulers: Sequence[tuple[str, Scheduler]],
        policy: Policy,
        *,
        report: Report,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cells = cells
        self._listeners = tuple(listener for listener, _ in listeners)
        self._queue_lengths = tuple(queue_length for _, queue_length in listeners)
        self._schedulers = tuple(schedulers)
        self._report, self._telemetry, self._clock = report, telemetry, clock
        self._max_connections = policy.max_connections
        self._patience = policy.missed_claim_seconds
        self._workers: dict[int, Candidate] = {}
        self._trusted: tuple[Candidate, ...] = ()
        self._claimed: list[list[int]] = [[] for _ in listeners]
        self._settled: list[list[int]] = [[] for _ in listeners]
        self._sent: list[int] = [0 for _ in listeners]
        self._unsettled: set[int] = set()
        self._told: set[Candidate] = set()  # to whom something was sent that may be unclaimed
        self._starving: set[int] = set()
        self._doubted: dict[int, float] = {}
        self._turn = 0

    @property
    def starved(self) -> bool:
        """Whether connections were left waiting because no worker may take them."""
        return bool(self._starving)

    @property
    def waiting(self) -> frozenset[int]:
        """The listeners that had connections waiting when their queues were last read."""
        return frozenset(self._unsettled)

    def ready(self, row: Row, pid: int, generation: int) -> None:
        """Take a worker into account. A pass for every listener should follow."""
        self._workers[row.slot] = Candidate(row, pid, generation, self._clock)
        self._resort()

    def gone(self, slot: int) -> None:
        """Forget a worker that dies or leaves, and what was sent to it. A pass should follow."""
        worker = self._workers.pop(slot, None)
        if worker is not None:
            self._told.discard(worker)
            self._resort()

    def plan(self, listener: int, now: float) -> list[tuple[Candidate, int]]:
        """Do one pass: return which workers to notify, and of how many connections.

        What is returned counts as sent; say `unsent` of what could not be sent.
        """
        need = self._need(listener, now)
        counts: dict[Candidate, int] = {}
        candidates = self._candidates() if need > 0 else ()
        view = self._listeners[listener]
        while need > 0 and candidates:
            worker = self._ask(view, candidates)
            worker.expect_claims(now)
            worker.note_sent(listener, 1)
            self._sent[listener] += 1
            counts[worker] = counts.get(worker, 0) + 1
            need -= 1
            if worker.load >= self._max_connections:
                worker.eligible = False
                candidates = tuple(one for one in candidates if one is not worker)
        if need > 0:
            self._starving.add(listener)
        else:
            self._starving.discard(listener)
        self._told |= counts.keys()
        return list(counts.items())

    def unsent(self, worker: Candidate, listener: int, amount: int) -> None:
        """Take back notifications that a full pipe did not take: that worker is suspended."""
        self._suspend(worker)  # first, so that what is told counts what was not taken
        worker.note_sent(listener, -amount)

    def check(self, now: float) -> bool:
        """Suspend who has missed a claim, resume who has caught up; tell if anything changed."""
        changed = False
        for worker in self._workers.values():
            if worker.suspended:
                if worker.outstanding == 0:
                    worker.suspended = False
                    changed = True
                    self._telemetry.emit(WORKER_RESUMED, slot=worker.slot, pid=worker.pid)
            elif worker in self._told:
                since = worker.silent_since(now)
                if since is None:
                    self._told.discard(worker)
                elif since + self._patience <= now:  # the very sum that next_check gives
                    self._suspend(worker)
                    changed = True
        if changed:
            self._resort()
        return changed

    def next_check(self, now: float) -> float | None:
        """Return when `check` is due, or None if nothing is under way."""
        if self._doubted:
            return now + SECOND_LOOK_SECONDS
        silent = [since for each in self._told if (since := each.silent_since(now)) is not None]
        if silent:
            return min(now + self._patience * LOOK_AGAIN, min(silent) + self._patience)
        if self._unsettled or any(worker.suspended for worker in self._workers.values()):
            return now + self._patience
        return None

    @property
    def quiet(self) -> bool:
        """Whether no connection waits, and no notification is unclaimed or being acted on."""
        cells = self._cells
        return not self._unsettled and all(
            cells[worker.cell(listener.index, SETTLED)] == cells[worker.cell(listener.index, SENT)]
            for worker in self._trusted
            for listener in self._listeners
        )

    # Inside

    def _suspend(self, worker: Candidate) -> None:
        if worker.suspended:
            return
        outstanding = worker.outstanding
        worker.suspend()
        self._told.discard(worker)
        self._resort()
        self._telemetry.emit(
            WORKER_SUSPENDED,
            slot=worker.slot,
            pid=worker.pid,
            outstanding=outstanding,
            milliseconds=round(self._patience * 1000),
        )

    def _resort(self) -> None:
        """Work out anew whom the passes count on, and which cells they read."""
        self._trusted = trusted = tuple(
            worker for _, worker in sorted(self._workers.items()) if not worker.suspended
        )
        for listener in range(len(self._listeners)):
            self._claimed[listener] = [worker.cell(listener, CLAIMED) for worker in trusted]
            self._settled[listener] = [worker.cell(listener, SETTLED) for worker in trusted]
            self._sent[listener] = sum(
                self._cells[worker.cell(listener, SENT)] for worker in trusted
            )

    def _need(self, listener: int, now: float) -> int:
        """Read the queue length, then the claims, and return how many notifications are needed."""
        cells, ask, sent = self._cells, self._queue_lengths[listener], self._sent[listener]
        for _ in range(REREADS):
            settled = sum([cells[index] for index in self._settled[listener]])
            length = ask()
            claimed = sum([cells[index] for index in self._claimed[listener]])
            if claimed == settled:
                break
        if length:
            self._unsettled.add(listener)
        else:
            self._unsettled.discard(listener)
        need = length - (sent - claimed)
        if claimed == settled or need <= 0:
            self._doubted.pop(listener, None)
            return need
        if now - self._doubted.setdefault(listener, now) >= self._patience:
            return need
        return length - (sent - settled)

    def _candidates(self) -> tuple[Candidate, ...]:
        limit = self._max_connections
        candidates = []
        for worker in self._trusted:
            worker.eligible = not worker.held_back and worker.load < limit
            if worker.eligible:
                candidates.append(worker)
        return tuple(candidates)

    def _ask(self, listener: Listener, candidates: tuple[Candidate, ...]) -> Candidate:
        for plugin, choose in self._schedulers:
            try:
                chosen = choose(listener, candidates)
            except BaseException as error:  # a plugin may raise SystemExit: the next one is asked
                self._report(plugin, "choose_worker", error, (listener,))
                continue
            if chosen is None:
                continue
            if isinstance(chosen, Candidate) and chosen.eligible:
                return chosen
            self._report(plugin, "choose_worker", NoCandidateError(chosen), (listener,))
        self._turn += 1
        return candidates[self._turn % len(candidates)]
