"""The quiesce gate: stops listening without a reset of connections that are completed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from host.net.listeners import ListeningSocket
from host.runtime.loop import Loop

STEP_SECONDS = 0.005
QUIET_SECONDS = 0.05
"""How long the queues must have been empty: a handshake under way on a near network is over."""
PATIENCE_SECONDS = 2.0


class Gate:
    """Shuts the listeners' gates, and closes the listeners once their queues are empty.

    Meanwhile dispatch goes on as ever.

    Args:
        quiet: tells whether no connection waits and every notification has been claimed.
        done: called once, when the listeners are closed.

    Attributes:
        open: whether the listeners are open yet, for dispatch at least.
    """

    def __init__(
        self,
        loop: Loop,
        listeners: Sequence[ListeningSocket],
        *,
        quiet: Callable[[], bool],
        done: Callable[[], object],
    ) -> None:
        self._loop, self._listeners = loop, listeners
        self._quiet, self._done = quiet, done
        self._quiet_since: float | None = None
        self._deadline = 0.0
        self.open = True

    def shut(self, now: float, patience: float) -> None:
        """Shut the gates; close after `patience` seconds (PATIENCE_SECONDS at most) in any case."""
        for listener in self._listeners:
            listener.shut_gate()
        self._deadline = now + min(patience, PATIENCE_SECONDS)
        self._look()

    def close(self) -> None:
        """Close the listeners now; harmless if they are closed."""
        if self.open:
            self.open = False
            for listener in self._listeners:
                self._loop.remove(listener.fileno())
                listener.close()
            self._done()

    def _look(self) -> None:
        if not self.open:
            return
        now = self._loop.now
        if not self._quiet():
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = now
        elif now - self._quiet_since >= QUIET_SECONDS:
            self.close()
            return
        if now >= self._deadline:
            self.close()
        else:
            self._loop.call_at(now + STEP_SECONDS, self._look)
