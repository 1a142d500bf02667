"""How a worker goes away: it takes nothing new and lets its connections finish."""

from __future__ import annotations

import math
import random
import socket
from collections.abc import Callable, Sequence

from host.interfaces import CloseReason
from host.runtime.loop import Loop, TimerHandle
from host.worker.connection import SocketConnection
from host.worker.context import OpenConnections

_SPREAD_SHARE = 0.5
"""The part of the time until the deadline over which connections may be told."""
_STEP_SECONDS = 0.002
"""How far those who are told in different turns of the loop are apart at least."""


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
        self._untold: list[SocketConnection] = []  # connections that do not know of it yet
        self._deadline = self._told_by = 0.0
        self._timer: TimerHandle | None = None
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
            self._untold = list(self._open)
        spread = min(self._spread_seconds, (deadline - loop.now) * _SPREAD_SHARE)
        self._deadline, self._told_by = deadline, loop.now + spread
        if self._timer is not None:
            self._timer.cancel()
        if spread > 0:  # workers that begin at the same time do not tell theirs at the same time
            self._tell_later(random.random() * self._step())
        else:
            self._tell_some()
        loop.call_at(deadline, self._cut)

    def _step(self) -> float:
        """Return how many seconds those who are told next are apart, who may be several."""
        left = self._told_by - self._loop.now
        return max(_STEP_SECONDS, left / max(1, len(self._untold)))

    def _tell_later(self, seconds: float) -> None:
        if self._untold:
            self._timer = self._loop.call_at(self._loop.now + seconds, self._tell_some)

    def _tell_some(self) -> None:
        """Tell those whose turn it is: as many as it takes to have told all in time."""
        step = self._step()
        turns = max(1, int((self._told_by - self._loop.now) / step))
        for _ in range(math.ceil(len(self._untold) / turns)):
            self._untold.pop().drain(self._deadline)
        self._tell_later(step)

    def _cut(self) -> None:
        """Close what is still open at the deadline."""
        left = tuple(self._open)
        for connection in left:
            connection.cut(CloseReason.DEADLINE)
        if left:
            self.has_cut = True
            self._on_cut(len(left))
