"""Timers that plugins set: those that belong to a connection, and calls that are repeated."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from host.interfaces import Timer


class Clock(Protocol):
    """What timers need of the loop."""

    @property
    def now(self) -> float:
        """The clock at the start of the present turn, in seconds."""

    def call_at(self, when: float, function: Callable[[], object]) -> Timer:
        """Call `function` once at `when`."""


class _Call:
    """A call that belongs to a connection; implements `host.Timer`."""

    __slots__ = ("_timer", "_timers", "function")

    def __init__(
        self, timers: ConnectionTimers, when: float, function: Callable[[], object]
    ) -> None:
        self._timers, self.function = timers, function
        self._timer = timers.clock.call_at(when, self._due)

    def cancel(self) -> None:
        """Forget the call; harmless if it was made already."""
        self._timer.cancel()
        self._timers.calls.discard(self)

    def _due(self) -> None:
        self._timers.calls.discard(self)
        self.function()


class ConnectionTimers:
    """The timers of one connection, which makes them when it needs the first.

    A connection whose time-out is set anew with each message would move an entry of the loop's heap
    each time. So the entry stays where it is as long as it is not too late: when it is due, and the
    time-out is not, it is put to where the time-out is by then. That is one operation per time-out
    that passes, and none per message.

    Args:
        clock: the loop.
        expired: called when the time-out has passed, once.

    Attributes:
        clock: the loop.
        calls: the calls that are to be made.
        expires: when the time-out passes, in seconds of the loop's clock; infinite for never.
        looks: when that is looked at next; infinite for never.
    """

    __slots__ = ("_expired", "_timer", "calls", "clock", "expires", "looks")

    def __init__(self, clock: Clock, expired: Callable[[], object]) -> None:
        self.clock, self._expired = clock, expired
        self.calls: set[_Call] = set()
        self.expires = self.looks = math.inf
        self._timer: Timer | None = None

    def call_at(self, when: float, function: Callable[[], object]) -> Timer:
        """Call `function` once at `when`, unless the connection has ended."""
        call = _Call(self, when, function)
        self.calls.add(call)
        return call

    def look_at(self, when: float) -> None:
        """Have the time-out looked at at `when`, instead of later."""
        if self._timer is not None:
            self._timer.cancel()
        self.looks = when
        self._timer = self.clock.call_at(when, self._look)

    def cancel(self) -> None:
        """Forget all of them: the connection has ended."""
        for call in tuple(self.calls):
            call.cancel()
        self.expires = self.looks = math.inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer, self.looks = None, math.inf
        if self.expires <= self.clock.now:
            self.expires = math.inf
            self._expired()
        elif self.expires < math.inf:
            self.look_at(self.expires)


_SHORTEST_SECONDS = 0.001


class RepeatedCall:
    """A call that is made again and again; implements `host.Timer`.

    The calls keep to the times at which they are due, however long each takes. Those whose time
    passes while the loop is busy are left out: they are not made up for all at once.

    Args:
        clock: the loop.
        seconds: the time between two calls.
        function: what is called; it raises nothing.

    Raises:
        ValueError: the time is shorter than a millisecond, or no number.
    """

    __slots__ = ("_clock", "_due", "_function", "_seconds", "_timer")

    def __init__(self, clock: Clock, seconds: float, function: Callable[[], object]) -> None:
        if not _SHORTEST_SECONDS <= seconds < math.inf:
            raise ValueError(
                f"the seconds between two calls must be at least {_SHORTEST_SECONDS}, not {seconds}"
            )
        self._clock, self._seconds, self._function = clock, seconds, function
        self._due = clock.now
        self._timer: Timer | None
        self._plan()

    def cancel(self) -> None:
        """Make no more calls; harmless if that was said already."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _plan(self) -> None:
        late = self._clock.now - self._due
        self._due += self._seconds * (1 + math.floor(late / self._seconds))
        self._timer = self._clock.call_at(self._due, self._call)

    def _call(self) -> None:
        self._plan()  # first: the function may cancel it
        self._function()
