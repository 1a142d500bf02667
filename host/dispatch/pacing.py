"""Hands out the connections of a listener at a rate: those beyond it wait in the backlog."""

from __future__ import annotations

import time
from collections.abc import Callable

from host.ipc.scoreboard import CLAIMED, SENT, Scoreboard

_DEPTH_SECONDS = 0.1
"""How much of the rate may be handed out at once after a quiet time."""
_SHORTEST_WAIT_SECONDS = 0.001
"""Between two passes that hand out what has become due."""


class PacedQueue:
    """The queue of a listener with a rate: dispatch sees no more of it than may be handed out now.

    It is a token bucket. Tokens are used up by what was sent to workers, which the scoreboard
    knows; so dispatch needs not know of any rate, and nobody who waits is refused.

    Args:
        length: tells how many connections wait.
        scoreboard: the scoreboard of the listener's generation.
        listener: the listener's number.
        rate: connections a second.
        later: calls the function that it is given after so many seconds: another pass.
        is_shut: tells whether the listener is about to be closed: then nobody may be left behind.
        clock: the monotonic clock.

    Attributes:
        length: tells how many connections wait in truth.
        run_pass: does a pass for the listener; set it before the first pass.
    """

    def __init__(
        self,
        length: Callable[[], int],
        scoreboard: Scoreboard,
        listener: int,
        rate: float,
        later: Callable[[float, Callable[[], object]], object],
        is_shut: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.length, self._scoreboard, self._listener = length, scoreboard, listener
        self._rate, self._depth = rate, max(1.0, rate * _DEPTH_SECONDS)
        self._later, self._is_shut, self._clock = later, is_shut, clock
        self._tokens, self._counted_at, self._sent = self._depth, clock(), self._total(SENT)
        self._is_planned = False
        self.run_pass: Callable[[], object]

    def __call__(self) -> int:
        """Return how many connections of the queue count now."""
        length = self.length()
        if not length or self._is_shut():
            return length
        self._count()
        may = max(0, int(self._tokens)) + self._total(SENT) - self._total(CLAIMED)
        if length <= may:
            return length
        if not self._is_planned:
            self._is_planned = True
            wait = (1 - self._tokens % 1) / self._rate
            self._later(max(_SHORTEST_WAIT_SECONDS, wait), self._go_on)
        return may

    def _count(self) -> None:
        """Take away a token for each connection that was handed out, and add what time brings."""
        now, sent = self._clock(), self._total(SENT)
        # It falls when a worker dies that had not claimed all; those are handed out again.
        used, gained = sent - self._sent, (now - self._counted_at) * self._rate
        self._tokens = min(self._depth, self._tokens - used + gained)
        self._counted_at, self._sent = now, sent

    def _go_on(self) -> None:
        self._is_planned = False
        self.run_pass()

    def _total(self, counter: int) -> int:
        return self._scoreboard.total(self._listener, counter)
