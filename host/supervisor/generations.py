"""Generations: the listeners, scoreboard and workers' rows between one reload and the next."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from host.dispatch.dispatcher import Dispatcher, DispatchPolicy, Scheduler
from host.dispatch.history import ChoiceHistory
from host.dispatch.runner import DispatchRunner, Send
from host.errors import LimitsError
from host.interfaces import Listener
from host.ipc.scoreboard import MAX_ROWS, Row, Scoreboard
from host.net.listeners import ListeningSocket
from host.net.queue_length import queue_length
from host.runtime.loop import Loop
from host.telemetry import events
from host.telemetry.emitter import ReportFailure, Telemetry


class Means(NamedTuple):
    """What handing out takes beside a loop: whom to ask, within which limits, how to tell."""

    schedulers: Sequence[tuple[str, Scheduler]]
    policy: DispatchPolicy
    send: Send
    report: ReportFailure
    telemetry: Telemetry


class Generation:
    """One generation, as the supervisor has it.

    Args:
        number: how many reloads came before it.
        listeners: what plugins see of its listeners.
        sockets: its listeners, if it hands out what waits on them; they are the generation's.
        scoreboard: its scoreboard; a new one is made if there is none yet.
        taken: the rows that are in use.

    Attributes:
        began: when its start began, in seconds of the loop's clock.
        decisions: who was chosen for its connections.
    """

    def __init__(
        self,
        number: int,
        listeners: Sequence[Listener],
        sockets: Sequence[ListeningSocket] = (),
        scoreboard: Scoreboard | None = None,
        taken: Sequence[int] = (),
    ) -> None:
        self.number, self.listeners, self.sockets = number, tuple(listeners), tuple(sockets)
        self.scoreboard = scoreboard or Scoreboard(len(listeners))
        self.began = 0.0
        self._next_row = max(taken, default=-1) + 1
        self._free = [row for row in range(self._next_row) if row not in set(taken)]
        self.dispatcher: Dispatcher | None = None
        self.passes: DispatchRunner | None = None
        self.decisions = ChoiceHistory()

    def take_row(self) -> Row:
        """Return the first row that is free.

        Raises:
            LimitsError: all are taken.
        """
        if self._free:
            return self.scoreboard.use(heapq.heappop(self._free))
        if self._next_row == MAX_ROWS:
            raise LimitsError(f"{MAX_ROWS} workers of one generation are alive")
        self._next_row += 1
        return self.scoreboard.use(self._next_row - 1)

    def give_back(self, row: Row) -> None:
        """Let others have the row of a worker that is dead."""
        row.write_off()
        heapq.heappush(self._free, row.number)

    def hand_out(self, loop: Loop, means: Means, wake: int | None = None) -> None:
        """Prepare to hand out what waits on the listeners; `passes.start` begins with it.

        Args:
            loop: the supervisor's loop.
            means: what dispatch needs.
            wake: the eventfd by which its workers wake the supervisor, if there is one already.
        """
        asks: list[tuple[Listener, Callable[[], int]]] = []
        blind = False
        for listener in self.sockets:
            ask, known = _ask(listener, means.telemetry)
            asks.append((listener.view, ask))
            blind = blind or not known
        self.dispatcher = Dispatcher(
            self.scoreboard.cells,
            asks,
            means.schedulers,
            means.policy,
            report=means.report,
            telemetry=means.telemetry,
        )
        self.decisions = self.dispatcher.decisions
        self.passes = DispatchRunner(
            loop,
            self.dispatcher,
            self.scoreboard,
            self.sockets,
            send=means.send,
            blind=blind,
            wake=wake,
        )

    def waiting(self, listener: int) -> int | None:
        """Return how many connections wait on a listener; None if it is not known."""
        with suppress(OSError):
            return None if self.dispatcher is None else self.dispatcher.queue_length(listener)
        return None

    def retire(self, kept: Sequence[ListeningSocket]) -> None:
        """Hand nothing out any more; close the listeners that no other generation has."""
        descriptors = {listener.fileno() for listener in kept}
        if self.passes is not None:
            self.passes.stop()
            self.passes.close()
        for listener in self.sockets:
            if listener.fileno() in descriptors:
                listener.leave()
            else:
                listener.close()
        self.sockets, self.dispatcher, self.passes = (), None, None

    def close(self, kept: Sequence[ListeningSocket] = ()) -> None:
        """Close everything but the sockets that another generation has."""
        self.retire(kept)
        self.scoreboard.close()


def _ask(listener: ListeningSocket, telemetry: Telemetry) -> tuple[Callable[[], int], bool]:
    """Return the function that tells the listener's queue length, and whether it knows it."""
    function, limit, cause = queue_length(listener)
    address = listener.view.address
    if limit is None:
        telemetry.emit(events.BACKLOG_UNKNOWN, address=address, cause=cause)
    elif limit < listener.wanted:
        telemetry.emit(events.BACKLOG_CAPPED, address=address, actual=limit, wanted=listener.wanted)
    return function, limit is not None
