"""What a worker does at the beginning and at the end of each turn of its loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from typing import Any

from host.bus.worker_end import LocalBus
from host.ipc.protocol import Drain, Instruction, Order
from host.ipc.scoreboard import CURRENT_CALL, STARVED, TURN_LASTED, TURN_STARTED, Cells, Row
from host.runtime.loop import Loop
from host.worker.acceptor import Acceptor
from host.worker.connection import SocketConnection
from host.worker.context import OpenConnections
from host.worker.timeouts import Timeouts


def _no_tasks() -> bool:
    """Have no tasks: the worker has no pools."""
    return False


@dataclass(slots=True, kw_only=True, eq=False)
class TurnHandler:
    """Keeps what the supervisor orders until the end of the turn, and does all that is due then.

    Attributes:
        connections: the worker's connections.
        loop: the worker's loop; it is stopped here.
        row: the worker's row of the scoreboard.
        acceptor: accepts connections when it is ordered to.
        timeouts: closes connections whose time is up.
        bus: what plugins have put there is sent at the end of the turn.
        wake: makes the supervisor look for waiting connections.
        execute: carries out the orders that do not concern the acceptor.
        stop_when_empty: whether the loop is to stop when no connection is open.
        has_tasks: tells whether tasks of pools are to be waited for then.
    """

    connections: InitVar[OpenConnections]
    loop: Loop
    row: InitVar[Row]
    acceptor: Acceptor
    timeouts: Timeouts
    bus: LocalBus
    wake: Callable[[], object]
    execute: Callable[[Order], object]
    stop_when_empty: bool = False
    has_tasks: Callable[[], bool] = _no_tasks
    _orders: list[Instruction] = field(init=False, default_factory=list)
    _open: set[SocketConnection] = field(init=False)
    _pending: dict[Any, None] = field(init=False)
    _touched: list[SocketConnection] = field(init=False)
    _stalled: dict[SocketConnection, float] = field(init=False)
    _has_idle_timeout: bool = field(init=False)
    _cells: Cells = field(init=False)
    _call_cell: int = field(init=False)
    _started_cell: int = field(init=False)
    _lasted_cell: int = field(init=False)

    def __post_init__(self, connections: OpenConnections, row: Row) -> None:
        """Bind what each turn needs: one step to a value is faster than two."""
        self._open, self._touched, self._stalled = (
            connections.open,
            connections.touched,
            connections.stalled,
        )
        self._pending = connections.pending
        self._has_idle_timeout = self.timeouts.has_idle_timeout
        self._cells, self._call_cell = row.cells, row.index(CURRENT_CALL)
        self._started_cell, self._lasted_cell = row.index(TURN_STARTED), row.index(TURN_LASTED)

    def add_orders(self, orders: list[Instruction] | None) -> None:
        """Keep orders for the end of the turn; None means that the supervisor is gone.

        Without a supervisor nothing new comes in, so the worker drains at once.
        """
        self._orders += [Drain(self.loop.now)] if orders is None else orders

    def begin(self) -> None:
        """Write to the scoreboard that a turn is under way, and since when."""
        self._cells[self._started_cell] = int(self.loop.now * 1e9)

    def end(self) -> None:
        """End a turn: carry out orders, follow up connections, and write that the turn is over.

        The order of these steps matters. Connections are accepted here, and not where the order is
        read, because the kernel gives a new socket the lowest free number (open(2)): that of a
        connection which was closed in this turn, say. An event of the old socket may still be in
        the batch that epoll_wait(2) has returned, and would be taken for one of the new socket. At
        the end of the turn the whole batch is handled.

        Connections are followed up after accepting, since `on_accept` may write to other
        connections. This calls hooks, which write to further connections and add them to the list
        that is being gone through: they are followed up in the same turn, as the loop may wait for
        long after it. What these hooks put on the bus is sent after all of them, in one piece.

        The scoreboard's cell for the start is set to 0 last. Until then the supervisor counts the
        time as the worker's, and finds a worker that hangs in any of these steps.
        """
        cells = self._cells
        if self._orders:
            orders, self._orders = self._orders, []
            for order in orders:
                if isinstance(order, tuple):
                    self.acceptor.accept(*order)
                else:
                    self.execute(order)
            if cells[STARVED]:
                self.wake()
        touched = self._touched
        if touched:
            for connection in touched:
                connection.follow_up()
            touched.clear()
        if self.stop_when_empty and not (self._open or self._pending or self.has_tasks()):
            self.loop.stop()
        if self.bus.waiting:
            self.bus.flush()
        if self._stalled or self._has_idle_timeout:
            self.timeouts.arm()
        started = self._started_cell
        cells[self._call_cell] = 0
        cells[self._lasted_cell] = int(time.monotonic() * 1e9) - cells[started]
        cells[started] = 0
