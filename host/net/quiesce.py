"""The quiesce gate: stops listening without a reset of connections that are completed."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence

from host.net import handshakes
from host.net.listeners import ListeningSocket
from host.runtime.loop import Loop

STEP_SECONDS = 0.005
HANDSHAKE_STEP_SECONDS = 0.05
"""How often the kernel is asked for handshakes: it walks through all connections of the machine."""
LOCAL_QUIET_SECONDS = 0.05
"""How long the queues of listeners must have been empty whose peers have no round trip."""
PATIENCE_SECONDS = 2.0
"""How long the gate stays shut at the most, unless it takes longer to be quiet: a client whose
confirmation was lost is asked for it again after a second (RFC 6298, 2.1)."""


class Gate:
    """Shuts the listeners' gates, and closes the listeners once nobody can be on the way any more.

    That is when their queues have been empty for the quiet time, and no handshake is under way.
    A client with a SYN cookie is in none of the kernel's lists until it confirms, one round trip
    after it was answered: for it the quiet time alone counts. Meanwhile dispatch goes on as ever.
    Of sockets that a service manager keeps nobody is waited for: they stay bound.

    Args:
        loop: tells the time, and watches the listeners.
        listeners: they are closed in the end.
        quiet_seconds: how long the queues must have been empty, LOCAL_QUIET_SECONDS where only
            programs of this machine reach the listeners.
        quiet: tells whether no connection waits and every notification has been claimed.
        done: called once, when the listeners are closed.
        under_way: tells whether a client of these sockets is in the middle of a handshake.

    Attributes:
        open: whether the listeners are open yet, for dispatch at least.
    """

    def __init__(
        self,
        loop: Loop,
        listeners: Sequence[ListeningSocket],
        quiet_seconds: float,
        *,
        quiet: Callable[[], bool],
        done: Callable[[], object],
        under_way: Callable[[Iterable[socket.socket]], bool] = handshakes.under_way,
    ) -> None:
        self._loop, self._listeners = loop, listeners
        ours = [listener for listener in listeners if not listener.is_kept]
        local = all(listener.is_local for listener in ours)
        self._quiet_seconds = LOCAL_QUIET_SECONDS if local else quiet_seconds
        if not listeners:  # nobody can be on the way
            self._quiet_seconds = 0.0
        self._ours = ours
        self._quiet, self._done, self._under_way = quiet, done, under_way
        self._quiet_since: float | None = None
        self._deadline = 0.0
        self.open = True

    def shut(self, now: float, patience: float) -> None:
        """Shut the gates; close after `patience` seconds in any case.

        It takes no more than PATIENCE_SECONDS or twice the quiet time, whichever is longer.
        """
        for listener in self._listeners:
            listener.shut_gate()
        longest = max(PATIENCE_SECONDS, 2 * self._quiet_seconds)
        self._deadline = now + min(patience, longest)
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
        since = self._quiet_since
        due = since is not None and now - since >= self._quiet_seconds
        # Handshakes before queues: a client that confirms in between is found in its queue.
        awaited = due and self._under_way([listener.sock for listener in self._ours])
        if not self._quiet():
            self._quiet_since = None
        elif since is None:
            self._quiet_since = now
        elif due and not awaited:
            self.close()
            return
        if now >= self._deadline:
            self.close()
        else:
            step = HANDSHAKE_STEP_SECONDS if awaited else STEP_SECONDS
            self._loop.call_at(min(now + step, self._deadline), self._look)
