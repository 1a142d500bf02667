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

    A pass looks at no more workers than it must. Who has settled all that was sent to it claims
    nothing until it is sent something, so it adds nothing to the sums: each listener has a list of
    the others, and only these are read. Who may be chosen is kept from pass to pass. A
    worker's load was read when it became a candidate, and only what is sent raises it: so it has at
    least the `room` that it had then, less what it was sent, and is looked at again when
    that is used up. Whether it refuses, which it says when it likes, is looked at when it is
    chosen. Who may not be chosen is looked at in each pass.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from host.dispatch.candidate import Candidate
from host.dispatch.history import ChoiceHistory, Look
from host.errors import NoCandidateError
from host.interfaces import Listener, WorkerView
from host.ipc.assignment import WorkerId
from host.ipc.scoreboard import CLAIMED, LISTENER_WORDS, SENT, SETTLED, Cells, Row
from host.telemetry.emitter import ReportFailure, Telemetry
from host.telemetry.events import WORKER_CAUGHT_UP, WORKER_SUSPENDED

Scheduler = Callable[[Listener, Sequence[WorkerView]], WorkerView | None]

REREADS = 4
"""How often a pass reads while an accept is under way: each takes about 3 µs, like an accept."""
LOOK_AGAIN = 0.2
"""How often claims are looked at while some are outstanding, in parts of `missed_claim_ms`: so
much later than that a worker is suspended at the most."""
LAST_RESORT = "(none answered: in turn)"
"""What stands for the scheduler of a connection that no scheduler had an answer for."""
_NOBODY_TO_ASK: tuple[str, Scheduler] = (LAST_RESORT, lambda _listener, _workers: None)
SECOND_LOOK_SECONDS = 0.001
"""When a pass is repeated that found an accept under way to the last."""


class DispatchPolicy(NamedTuple):
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

    Attributes:
        schedulers: name and function of each plugin that is asked, in order.
        choices: which worker was chosen, by which scheduler, out of which candidates.
        starved: whether connections were left waiting because no worker may take them.
    """

    def __init__(
        self,
        cells: Cells,
        listeners: Sequence[tuple[Listener, Callable[[], int]]],
        schedulers: Sequence[tuple[str, Scheduler]],
        policy: DispatchPolicy,
        *,
        report: ReportFailure,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cells = cells
        self._listeners = tuple(listener for listener, _ in listeners)
        self._queue_lengths = tuple(queue_length for _, queue_length in listeners)
        self.schedulers = tuple(schedulers)
        self.choices = ChoiceHistory()
        self._report, self._telemetry, self._clock = report, telemetry, clock
        self._max_connections = policy.max_connections
        self._patience = policy.missed_claim_seconds
        self._workers: dict[int, Candidate] = {}
        self._trusted: tuple[Candidate, ...] = ()
        self._candidates: tuple[Candidate, ...] = ()
        self._ineligible: tuple[Candidate, ...] = ()  # trusted, but full, held, or refusing
        # For each listener, where the counters begin of those who may have anything to settle.
        self._accounts: list[set[int]] = [set() for _ in listeners]
        self._unsettled: set[int] = set()
        self._told: set[Candidate] = set()  # they were sent something that may be unclaimed
        self._starving: set[int] = set()
        self.starved = False
        self._doubted: dict[int, float] = {}
        self._turn = 0

    @property
    def waiting(self) -> frozenset[int]:
        """The listeners that had connections waiting when their queues were last read."""
        return frozenset(self._unsettled)

    @property
    def workers(self) -> tuple[Candidate, ...]:
        """All workers that are taken into account, in the order of their slots."""
        return tuple(sorted(self._workers.values(), key=lambda worker: (worker.slot, worker.pid)))

    def queue_length(self, listener: int) -> int:
        """Return how many connections wait on a listener.

        Raises:
            OSError: the kernel does not tell.
        """
        return self._queue_lengths[listener]()

    def ready(self, row: Row, who: WorkerId, before: int = 0) -> None:
        """Take a worker into account, of whose slot `before` connections were accepted already.

        A pass for every listener should follow.
        """
        worker = self._workers[who.pid] = Candidate(row, who, before, self._clock)
        worker.consider(self._max_connections)
        self._resort()

    def gone(self, pid: int) -> None:
        """Forget a worker that dies or leaves, and what was sent to it. A pass should follow."""
        worker = self._workers.pop(pid, None)
        if worker is not None:
            worker.eligible = False
            self._told.discard(worker)
            self._resort()

    def candidate(self, pid: int) -> Candidate | None:
        """Return the worker with this pid; None if it is not taken into account."""
        return self._workers.get(pid)

    def hold(self, pid: int, held: bool) -> bool:
        """Keep new connections from a worker, or no longer; False if there is no such worker."""
        worker = self._workers.get(pid)
        if worker is None:
            return False
        worker.held = held
        worker.consider(self._max_connections)
        self._sort()
        return True

    def recount(self) -> None:
        """Take up what another process has sent on this scoreboard. Passes should follow."""
        for worker in self._workers.values():
            worker.recount()
            worker.consider(self._max_connections)
        self._told.update(self._workers.values())
        self._resort()

    def plan(self, listener: int, now: float) -> list[tuple[Candidate, int]]:
        """Do one pass: return which workers to notify, and of how many connections.

        What is returned counts as sent; say `unsent` of what could not be sent.
        """
        need = self._need(listener, now)
        if need <= 0:
            self._note_left(listener, 0)
            return []
        limit, ineligible = self._max_connections, self._ineligible
        if ineligible and [each for each in ineligible if each.consider(limit)]:
            self._sort()  # somebody may be chosen again
        if not self._candidates:
            self._note_left(listener, need)
            return []
        look = self._choose(listener, need, now)
        need -= len(look.chosen)
        if need > 0 or self.starved:
            self._note_left(listener, need)
        # From this moment: a slow scheduler is not the fault of the worker that it chose.
        asked = max(now, self._clock())
        accounts, told, planned = self._accounts[listener], self._told, []
        for worker in dict.fromkeys(look.chosen):
            count, number = worker.note_sent(listener, asked)
            look.sent.append((worker.pid, count, number))
            accounts.add(worker.accounts + listener * LISTENER_WORDS)
            told.add(worker)
            planned.append((worker, count))
        self.choices.remember(look)
        return planned

    def _choose(self, listener: int, need: int, now: float) -> Look:
        """Ask who takes each of `need` connections, until there is no candidate left.

        The loop does no more than schedulers can see: each connection of a burst goes through it.
        """
        cells, view, candidates = self._cells, self._listeners[listener], self._candidates
        plugin, choose = self.schedulers[0] if self.schedulers else _NOBODY_TO_ASK
        look = self.choices.look(candidates, listener, plugin, now)
        chosen = look.chosen
        while need > 0 and candidates:
            try:
                worker = choose(view, candidates)
            except BaseException as error:  # a plugin may raise SystemExit: the next one is asked
                self._report(plugin, "choose_worker", error, (view,))
                worker = None
            if type(worker) is not Candidate or not worker.eligible:
                worker = self._ask_others(look, worker)
            # It may begin to refuse at any time, and says so in the scoreboard alone.
            if worker.sent == worker.noted and cells[worker.refusing_cell]:
                look.others.pop(len(chosen), None)
                worker.consider(self._max_connections)
                self._sort()
                candidates = self._candidates
                continue
            chosen.append(worker)
            need -= 1
            worker.sent += 1
            worker.room = room = worker.room - 1
            if room <= 0 and not worker.consider(self._max_connections):
                self._sort()
                candidates = self._candidates
        return look

    def unsent(self, worker: Candidate, listener: int, amount: int) -> None:
        """Take back notifications that a full pipe did not take: that worker is suspended."""
        # First, so that what is told counts what was not taken.
        self._suspend(worker, "takes no word, since its pipe is full or it has just ended")
        worker.take_back(listener, amount)

    def check(self, now: float) -> bool:
        """Suspend who has missed a claim, resume who has caught up; tell if anything changed."""
        changed = False
        for worker in self._workers.values():
            if worker.has_lost():
                worker.count_claimed_as_sent(len(self._listeners))
                worker.consider(self._max_connections)
                changed = True
            if worker.suspended:
                if worker.outstanding == 0:
                    worker.resume()
                    worker.consider(self._max_connections)
                    changed = True
                    self._telemetry.emit(WORKER_CAUGHT_UP, slot=worker.slot, pid=worker.pid)
            elif worker in self._told:
                since = worker.silent_since(now)
                if since is None:
                    self._told.discard(worker)
                elif since + self._patience <= now:  # the very sum that next_check gives
                    patience = round(self._patience * 1000)
                    self._suspend(worker, f"has claimed nothing for {patience} ms")
                    changed = True
        if changed:
            self._resort()
        return changed

    def next_check(self, now: float, planned: float = math.inf) -> float | None:
        """Return when `check` is due, or None if nothing is under way.

        Args:
            now: the time.
            planned: when one is planned. If that is no later than the next look at claims, the
                answer may be None: it is in time for whatever was sent before it was planned, and
                for what was sent since, whose claims are not missed so soon.
        """
        if self._doubted:
            return now + SECOND_LOOK_SECONDS
        if planned <= now + self._patience * LOOK_AGAIN:
            return None
        silent = [since for each in self._told if (since := each.silent_since(now)) is not None]
        if silent:
            return min(now + self._patience * LOOK_AGAIN, min(silent) + self._patience)
        if self._unsettled or any(worker.suspended for worker in self._workers.values()):
            return now + self._patience
        return None

    def quiet(self, listeners: Sequence[int]) -> bool:
        """Tell whether no connection waits, and no notification is unclaimed or being acted on."""
        cells = self._cells
        return self._unsettled.isdisjoint(listeners) and all(
            cells[worker.cell(listener, SETTLED)] == cells[worker.cell(listener, SENT)]
            for worker in self._trusted
            for listener in listeners
        )

    def _suspend(self, worker: Candidate, cause: str) -> None:
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
            cause=cause,
        )

    def _note_left(self, listener: int, left: int) -> None:
        """Note how many connections of a listener a pass has left waiting."""
        if left > 0:
            self._starving.add(listener)
            self.starved = True
        elif self.starved:
            self._starving.discard(listener)
            self.starved = bool(self._starving)

    def _resort(self) -> None:
        """Work out anew which workers the passes count on, and which counters they read."""
        self._trusted = tuple(each for each in self.workers if not each.suspended)
        for listener in range(len(self._listeners)):
            self._accounts[listener] = {worker.cell(listener, 0) for worker in self._trusted}
        self._sort()

    def _sort(self) -> None:
        """Tell apart who may be chosen and who may not."""
        self._candidates = tuple([each for each in self._trusted if each.eligible])
        self._ineligible = tuple([each for each in self._trusted if not each.eligible])

    def _need(self, listener: int, now: float) -> int:
        """Read the queue length, then the claims, and return how many notifications are needed."""
        cells, ask, accounts = self._cells, self._queue_lengths[listener], self._accounts[listener]
        if accounts:
            accounts = {each for each in accounts if cells[each + SETTLED] != cells[each + SENT]}
            self._accounts[listener] = accounts
        for _ in range(REREADS):
            settled = claimed = sent = 0
            for each in accounts:
                settled += cells[each + SETTLED]
            length = ask()
            for each in accounts:
                claimed += cells[each + CLAIMED]
                sent += cells[each + SENT]
            if claimed == settled:
                break
        if length:
            self._unsettled.add(listener)
        else:
            self._unsettled.discard(listener)
        need = length - (sent - claimed)
        if claimed == settled or need <= 0:
            if self._doubted:
                self._doubted.pop(listener, None)
            return need
        if now - self._doubted.setdefault(listener, now) >= self._patience:
            return need
        return length - (sent - settled)

    def _ask_others(self, look: Look, answer: object) -> Candidate:
        """Return who takes the next connection if the first scheduler's answer is no good."""
        view, candidates, plugin = self._listeners[look.listener], self._candidates, look.scheduler
        number = len(look.chosen)
        for other, choose in self.schedulers[1:]:
            if answer is not None:
                self._report(plugin, "choose_worker", NoCandidateError(answer), (view,))
            plugin, answer = other, None
            try:
                answer = choose(view, candidates)
            except BaseException as error:
                self._report(plugin, "choose_worker", error, (view,))
            if isinstance(answer, Candidate) and answer.eligible:
                look.others[number] = plugin
                return answer
        if answer is not None:
            self._report(plugin, "choose_worker", NoCandidateError(answer), (view,))
        self._turn += 1
        look.others[number] = LAST_RESORT
        return candidates[self._turn % len(candidates)]
