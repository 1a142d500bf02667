"""How a worker goes away: it takes nothing new and lets its connections finish."""

from __future__ import annotations

import functools
import random
import socket
from collections.abc import Callable, Sequence

from host.interfaces import CloseReason
from host.runtime.loop import Loop
from host.worker.connection import SocketConnection
from host.worker.context import OpenConnections

_SPREAD_SHARE = 0.5
"""The part of the time until the deadline over which connections may be told."""


class Draining:
    """Tells every connection that the worker goes away, and closes at the deadline what is left.

    Args:
        connections: the worker's connections.
        sockets: the listening sockets; the worker's copies are closed when draining begins.
        loop: the worker's loop.
        spread_seconds: over how many seconds connections are told, so that not all clients
            connect anew at once; 0 tells all at once.
        on_cut: called at the deadline with how many connections were closed, if there were any.

    Attributes:
        has_cut: whether connections were closed at the deadline.
    """

    def __init__(
        self,
        connections: OpenConnections,
        sockets: Sequence[socket.socket],
        loop: Loop,
        spread_seconds: float,
        on_cut: Callable[[int], object],
    ) -> None:
        self._open, self._sockets, self._loop = connections.open, sockets, loop
        self._spread_seconds, self._on_cut = spread_seconds, on_cut
        self._untold: set[SocketConnection] = set()  # connections that do not know of it yet
        self._begun = self.has_cut = False

    def begin(self, deadline: float) -> None:
        """Take nothing new, tell every connection, and close at `deadline` what is still open.

        A second order may leave less time. Connections that were told nothing yet hear of the new
        deadline; the others keep the one they know, and are closed at the earlier one.

        Args:
            deadline: in seconds of the loop's clock.
        """
        loop = self._loop
        if not self._begun:
            self._begun = True
            for sock in self._sockets:
                sock.close()
            self._untold = set(self._open)
        spread = min(self._spread_seconds, (deadline - loop.now) * _SPREAD_SHARE)
        for connection in tuple(self._untold):
            if spread > 0:
                when = loop.now + random.random() * spread
                loop.call_at(when, functools.partial(self._tell, connection, deadline))
            else:
                self._tell(connection, deadline)
        loop.call_at(deadline, self._cut)

    def _tell(self, connection: SocketConnection, deadline: float) -> None:
        if connection in self._untold:
            self._untold.discard(connection)
            connection.drain(deadline)

    def _cut(self) -> None:
        """Close what is still open at the deadline."""
        left = tuple(self._open)
        for connection in left:
            connection.abort(CloseReason.DEADLINE)
        if left:
            self.has_cut = True
            self._on_cut(len(left))
