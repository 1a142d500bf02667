"""Closes connections whose time is up: idle ones, and those whose peer takes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from host.interfaces import CloseReason, Timer
from host.worker.context import OpenConnections

_SHORTEST_WAIT_SECONDS = 0.05
_CLOSED_AT_ONCE = 16
"""How many are closed in a turn: half a millisecond of a usual machine, without plugins."""
_LOOKED_AT_AT_ONCE = 2048
"""How many are looked at in a turn: a few tenths of a millisecond."""


class Clock(Protocol):
    """What `Timeouts` needs of the loop."""

    now: float

    def call_at(self, when: float, function: Callable[[], object]) -> Timer:
        """Call `function` once at `when`."""

    def call_from_thread(self, function: Callable[[], object]) -> None:
        """Call `function` in the next turn."""


class Timeouts:
    """Looks through the connections when the earliest deadline among them can have passed.

    One timer serves all: a timer per connection would have to be moved at every event. So a
    deadline is met with a delay of at most a twentieth of the timeout, and never early. Where many
    are late at the same time, a few are closed in each turn: the others have theirs in between.

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
        self._left: Iterator[Any] | None = None  # while they are looked through: those to come
        self._oldest = 0.0  # when the first of those looked at was active

    def arm(self) -> None:
        """See to it that the next deadline is not missed; cheap when nothing is to be done."""
        if self._stalled:
            self._arm_at(self._loop.now + self._write_timeout)
        if self._idle_timeout and self._open:
            self._arm_at(self._loop.now + self._idle_timeout)

    def _arm_at(self, when: float) -> None:
        if self._left is not None:
            return  # it is done when all have been looked at
        if self._timer is not None:
            if self._due <= when:
                return
            self._timer.cancel()
        self._due = when
        self._timer = self._loop.call_at(when, self._check)

    def _check(self) -> None:
        """Look through all that can be late."""
        self._timer, self._oldest = None, self._loop.now
        self._left = iter(tuple(self._open if self._idle_timeout else self._stalled))
        self._go_on()

    def _go_on(self) -> None:
        """Look at the next ones; close a few in a turn, however many are late at the same time."""
        left, closed = self._left, 0
        assert left is not None
        for looked, connection in enumerate(left, 1):
            closed += self._close_if_late(connection)
            if closed == _CLOSED_AT_ONCE or looked == _LOOKED_AT_AT_ONCE:
                self._loop.call_from_thread(self._go_on)
                return
        self._left = None
        if self._stalled:
            self._arm_for(min(self._stalled.values()), self._write_timeout)
        if self._idle_timeout and self._open:
            self._arm_for(self._oldest, self._idle_timeout)

    def _close_if_late(self, connection: Any) -> bool:
        now, since = self._loop.now, self._stalled.get(connection)
        if since is not None and now - since >= self._write_timeout:
            connection.cut(CloseReason.WRITE_TIMEOUT)
        elif self._idle_timeout and now - connection.last_active >= self._idle_timeout:
            connection.finish(CloseReason.IDLE)
        else:
            self._oldest = min(self._oldest, connection.last_active)
            return False
        return True

    def _arm_for(self, since: float, timeout: float) -> None:
        now = self._loop.now
        self._arm_at(max(since + timeout, now + max(_SHORTEST_WAIT_SECONDS, timeout / 20)))
