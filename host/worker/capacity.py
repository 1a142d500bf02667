"""What the supervisor is told of the room for connections in this worker."""

from __future__ import annotations

from collections.abc import Callable

from host.interfaces import CloseReason
from host.ipc.scoreboard import ACTIVE, REFUSING, STARVED, Row
from host.runtime.loop import Loop
from host.worker.connection import SocketConnection
from host.worker.context import OpenConnections

_RETRY_SECONDS = 0.1


class Capacity:
    """Counts the connections that end, and refuses new ones while the process has no room.

    The acceptor counts those that begin.

    Args:
        row: this worker's row of the scoreboard.
        connections: the worker's connections.
        loop: the worker's loop.
        wake: makes the supervisor look for waiting connections.
    """

    def __init__(
        self,
        row: Row,
        connections: OpenConnections,
        loop: Loop,
        wake: Callable[[], object],
    ) -> None:
        self._row, self._open, self._loop = row, connections.open, loop
        self._wake = wake
        self._cells, self._active = row.cells, row.index(ACTIVE)
        self._is_full = False

    def connection_ended(self, connection: SocketConnection, _reason: CloseReason) -> None:
        """Count one connection less: its descriptor is closed, and another one can have it."""
        self._open.discard(connection)
        connection.count_bytes()
        self.free()

    def free(self) -> None:
        """Count one connection less, which may not have begun."""
        self._cells[self._active] -= 1
        if self._cells[STARVED]:
            self.take_again()
            self._wake()

    def refuse(self) -> None:
        """Take no connection for a moment, since the process or the machine has no more to give."""
        if not self._row.get(REFUSING):
            self._row.put(REFUSING, 1)
            self._loop.call_at(self._loop.now + _RETRY_SECONDS, self.take_again)

    def fill(self) -> None:
        """Take no connection until `empty` is called."""
        self._is_full = True
        self._row.put(REFUSING, 1)

    def empty(self) -> None:
        """Take connections again after `fill`; harmless without it."""
        if self._is_full:
            self._is_full = False
            self.take_again()

    def take_again(self) -> None:
        """Ask for connections again if this worker refuses them and has room."""
        if self._row.get(REFUSING) and not self._is_full:
            self._row.put(REFUSING, 0)
            self._wake()
