"""A generation: the listeners and workers that one reload has started."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from host import errors
from host.dispatch.candidate import Candidate
from host.dispatch.dispatcher import Dispatcher
from host.dispatch.history import ChoiceHistory
from host.dispatch.pacing import PacedQueue
from host.dispatch.runner import DispatchRunner
from host.interfaces import Listener
from host.ipc.assignment import WorkerId
from host.ipc.client_counts import ClientCounts
from host.ipc.scoreboard import MAX_ROWS, OPEN, SENT, SETTLED, Row, Scoreboard
from host.ipc.series import OwnSeries, SeriesBoard
from host.net.listeners import ListeningSocket
from host.net.shards import ShardGroup


class HandingOut(NamedTuple):
    """What hands out the connections that wait on a generation's listeners.

    Attributes:
        dispatcher: decides which worker is told of how many connections.
        runner: looks at the listeners and tells the workers.
    """

    dispatcher: Dispatcher
    runner: DispatchRunner


class Generation:
    """The listeners, the scoreboard and the workers' rows that belong to one reload.

    Args:
        number: its number: 0 for the first one, and larger with each reload.
        listeners: what plugins see of its listeners.
        sockets: its listening sockets, if it hands out what waits on them; it closes them.
        scoreboard: its scoreboard; a new one is made if there is none yet. It closes it.
        rows_in_use: the rows whose workers are alive.
        clients: where its workers count their clients, if they do; all generations have the same.

    Attributes:
        began: when its start began, in seconds of the loop's clock.
        handing_out: what hands out its connections; None before it can and when it only drains.
        choices: who was chosen for its connections.
        paced: the queues of listeners that have a rate, by their numbers.
        series: what is counted of its plugins and by them; it closes the memory.
        held_by_others: tells how many connections of the listener with this address other
            generations have.
    """

    def __init__(
        self,
        number: int,
        listeners: Sequence[Listener],
        sockets: Sequence[ListeningSocket] = (),
        scoreboard: Scoreboard | None = None,
        rows_in_use: Iterable[int] = (),
        clients: ClientCounts | None = None,
    ) -> None:
        self.number, self.listeners, self.sockets = number, tuple(listeners), tuple(sockets)
        self.scoreboard = scoreboard or Scoreboard(len(listeners))
        self.clients = clients
        self.began = 0.0
        self.handing_out: HandingOut | None = None
        self.choices = ChoiceHistory()
        self.paced: dict[int, PacedQueue] = {}
        self.series, self.swapped = OwnSeries(), OwnSeries()
        self.held_by_others: Callable[[str], int] = lambda _address: 0
        used = set(rows_in_use)
        self._next_row = max(used, default=-1) + 1
        self._free = [row for row in range(self._next_row) if row not in used]

    @property
    def streams(self) -> tuple[ListeningSocket, ...]:
        """Its listening sockets that connections come in on."""
        return tuple(each for each in self.sockets if not isinstance(each, ShardGroup))

    @property
    def groups(self) -> tuple[ShardGroup, ...]:
        """Its groups of sockets that datagrams come in on."""
        return tuple(each for each in self.sockets if isinstance(each, ShardGroup))

    @property
    def boards(self) -> tuple[SeriesBoard, ...]:
        """The memory that there is of series: of its plugins, and of a scheduler swapped in."""
        found = self.series.board, self.swapped.board
        return tuple(board for board in found if board is not None)

    @property
    def is_empty(self) -> bool:
        """Whether no worker of it is alive."""
        return len(self._free) == self._next_row

    def take_row(self, slot: int) -> Row:
        """Return a row for a worker of a slot: a free one of that slot, or a new one.

        A row of another slot is taken only when there are no new ones: the two are counted together
        from then on.

        Raises:
            LimitsError: all are taken.
        """
        row = self.scoreboard.row
        number = next((each for each in self._free if row(each).slot in (slot, None)), None)
        if number is None and self._next_row < MAX_ROWS:
            number, self._next_row = self._next_row, self._next_row + 1
        elif number is None and self._free:
            number = self._free[0]
        if number is None:
            raise errors.LimitsError(f"{MAX_ROWS} workers of one generation are alive")
        if number in self._free:
            self._free.remove(number)
        return self.scoreboard.use(number, slot)

    def give_back(self, row: Row) -> None:
        """Free the row of a worker that is dead, for another worker."""
        row.write_off()
        if self.series.board is not None:
            self.series.board.write_off(row.number + 1)
        bisect.insort(self._free, row.number)

    def add_candidate(self, row: Row, worker: WorkerId, accepted: int) -> None:
        """Let schedulers choose a worker that is ready; a pass should follow.

        Args:
            row: its row of the scoreboard.
            worker: who it is.
            accepted: how many connections have been accepted in its slot so far.
        """
        if self.handing_out is not None:
            self.handing_out.dispatcher.ready(row, worker, accepted)

    def remove_candidate(self, pid: int) -> None:
        """Let schedulers choose a worker no more; what it has not claimed is given to others."""
        if self.handing_out is not None:
            self.handing_out.dispatcher.gone(pid)

    def candidate(self, pid: int) -> Candidate | None:
        """Return a worker as schedulers see it; None if they do not."""
        return self.handing_out.dispatcher.candidate(pid) if self.handing_out else None

    def waiting(self, listener: int) -> int | None:
        """Return how many connections wait on a listener; None if it is not known."""
        with suppress(OSError):
            if listener in self.paced:
                return self.paced[listener].length()
            if self.handing_out is not None:
                return self.handing_out.dispatcher.queue_length(listener)
        return None

    def held(self, listener: int) -> int:
        """Return how many connections of a listener are open or handed out, and never too few.

        A worker counts one that it has accepted as open before it settles the claim.
        """
        held = 0
        for row in self.scoreboard.rows:
            settled = row.count(listener, SETTLED)
            held += row.count(listener, SENT) - settled + row.count(listener, OPEN)
        return held

    def room(self, listener: Listener, most: int) -> int:
        """Return how many connections a listener may have more, if it may have `most`."""
        return most - self.held(listener.index) - self.held_by_others(listener.address)

    def stop_handing_out(self, kept: Sequence[ListeningSocket]) -> None:
        """Hand nothing out any more; close the listeners that no other generation has."""
        descriptors = {listener.fileno() for listener in kept}
        if self.handing_out is not None:
            self.handing_out.runner.stop()
            self.handing_out.runner.close()
        for listener in self.sockets:
            if listener.fileno() in descriptors:
                listener.leave()
            else:
                listener.close()
        self.sockets, self.handing_out = (), None

    def close(self, kept: Sequence[ListeningSocket] = ()) -> None:
        """Close everything but the sockets that another generation has."""
        self.stop_handing_out(kept)
        self.scoreboard.close()
        self.series.close()
        self.swapped.close()
