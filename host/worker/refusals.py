"""Refuses connections: closes them, counts them by cause, and tells of them now and then."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from host.interfaces import Listener
from host.ipc.scoreboard import GONE, PROBES, Row
from host.net.sockets import reset_on_close
from host.telemetry.emitter import Telemetry
from host.telemetry.events import CONNECTIONS_REFUSED
from host.worker.capacity import Capacity

_TELL_AGAIN_SECONDS = 10.0
_NOT_TOLD = frozenset({GONE, PROBES})
"""Who ends by itself is counted only."""


class Refusals:
    """Refuses connections that plugins do not know of.

    Args:
        listeners: the listeners.
        resets: by listener: whether the peer sees a reset, which leaves nothing behind in the
            kernel, or an end.
        row: this worker's row of the scoreboard.
        slot: the worker's slot.
        clock: tells the time in seconds.
        telemetry: told of what is refused, at most once in a while for each cause.
        capacity: told that there is room again.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        resets: Sequence[bool],
        row: Row,
        slot: int,
        clock: Callable[[], float],
        telemetry: Telemetry,
        capacity: Capacity,
    ) -> None:
        self._listeners, self._resets, self._row, self._slot = listeners, resets, row, slot
        self._clock, self._telemetry, self._capacity = clock, telemetry, capacity
        self._untold: dict[tuple[int, int], int] = {}
        self._silent_until: dict[tuple[int, int], float] = {}

    def refuse(self, fd: int, listener: int, cause: int, peer: str, why: str) -> None:
        """Close the descriptor of a connection that was accepted and not begun.

        Args:
            fd: the descriptor.
            listener: the number of the listener that it came in on.
            cause: the counter of the scoreboard for this kind of refusal.
            peer: the other end, as text.
            why: what is wrong, for the log.
        """
        if self._resets[listener]:
            reset_on_close(fd)
        os.close(fd)
        self._row.add(listener, cause)
        self._capacity.free()
        if cause not in _NOT_TOLD:
            self._tell(listener, cause, peer, why)

    def _tell(self, listener: int, cause: int, peer: str, why: str) -> None:
        kind, now = (listener, cause), self._clock()
        count = self._untold[kind] = self._untold.get(kind, 0) + 1
        if now < self._silent_until.get(kind, 0.0):
            return
        self._silent_until[kind] = now + _TELL_AGAIN_SECONDS
        del self._untold[kind]
        address = self._listeners[listener].address
        self._telemetry.emit(
            CONNECTIONS_REFUSED, slot=self._slot, address=address, count=count, peer=peer, why=why
        )
