"""Closes connections whose time is up: idle ones, and those whose peer takes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from host.interfaces import CloseReason, Timer
from host.worker.context import OpenConnections

_SHORTEST_WAIT_SECONDS = 0.05


class Clock(Protocol):
    """What `Timeouts` needs of the loop."""

    now: float

    def call_at(self, when: float, function: Callable[[], object]) -> Timer:
        """Call `function` once at `when`."""


class Timeouts:
    """Looks through the connections when the earliest deadline among them can have passed.

    One timer serves all: a timer per connection would have to be moved at every event. So a
    deadline is met with a delay of at most a twentieth of the timeout, and never early.

    Args:
        loop: tells the time and calls back.
        connections: the worker's connections; it is only read here.
        idle_timeout: seconds without a byte either way; 0 for never.
        write_timeout: seconds in which a peer takes nothing of what is unsent.

    Attributes:
        has_idle_timeout: whether there is one: then `arm` has work though no connection is stalled.
    """

    def __init__(
        self,
        loop: Clock,
        connections: OpenConnections,
        *,
        idle_timeout: float,
        write_timeout: float,
    ) -> None:
        self._loop, self._open, self._stalled = loop, connections.open, connections.stalled
        self._idle_timeout, self._write_timeout = idle_timeout, write_timeout
        self.has_idle_timeout = idle_timeout > 0
        self._timer: Timer | None = None
        self._due = 0.0

    def arm(self) -> None:
        """See to it that the next deadline is not missed; cheap when nothing is to be done."""
        if self._stalled:
            self._arm_at(self._loop.now + self._write_timeout)
        if self._idle_timeout and self._open:
            self._arm_at(self._loop.now + self._idle_timeout)

    def _arm_at(self, when: float) -> None:
        if self._timer is not None:
            if self._due <= when:
                return
            self._timer.cancel()
        self._due = when
        self._timer = self._loop.call_at(when, self._check)

    def _check(self) -> None:
        self._timer = None
        now = self._loop.now
        for connection, since in list(self._stalled.items()):
            if now - since >= self._write_timeout:
                connection.abort(CloseReason.WRITE_TIMEOUT)
        if self._stalled:
            self._arm_for(min(self._stalled.values()), self._write_timeout)
        if not self._idle_timeout:
            return
        oldest = now
        for connection in list(self._open):
            if now - connection.last_active >= self._idle_timeout:
                connection.finish(CloseReason.IDLE)
            else:
                oldest = min(oldest, connection.last_active)
        if self._open:
            self._arm_for(oldest, self._idle_timeout)

    def _arm_for(self, since: float, timeout: float) -> None:
        now = self._loop.now
        self._arm_at(max(since + timeout, now + max(_SHORTEST_WAIT_SECONDS, timeout / 20)))
