"""Refuses connections: closes them, counts them by cause, and tells of them now and then."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from host.interfaces import Listener
from host.ipc.recent import Kind
from host.ipc.scoreboard import GONE, PROBES, Row
from host.net.sockets import discard_unread, reset_on_close
from host.runtime.loop import Loop
from host.telemetry.emitter import Telemetry
from host.telemetry.events import CONNECTIONS_REFUSED
from host.worker.capacity import Capacity

_TELL_AGAIN_SECONDS = 10.0
_NOT_TOLD = frozenset({GONE, PROBES})
"""Who ends by itself is counted only."""


class _Untold(NamedTuple):
    """What has not been told of one cause: how many, and the last one."""

    number: int
    peer: str
    why: str


class Closers(NamedTuple):
    """What closes the descriptors of a listener.

    Attributes:
        refuse: as the key `refuse` says, for who was told nothing.
        end: so that the peer sees an end.
    """

    refuse: Callable[[int], None]
    end: Callable[[int], None]


def closers(close: Callable[[int], None], refuse: str) -> Closers:
    """Return what closes the descriptors of a listener whose key `refuse` says how.

    Args:
        close: closes a descriptor; the peer sees an end.
        refuse: "reset" or "close".
    """
    return Closers(closing_with_reset(close) if refuse == "reset" else close, close)


def closing_with_reset(close: Callable[[int], None]) -> Callable[[int], None]:
    """Return what closes a descriptor so that the peer sees a reset, and the kernel keeps nothing.

    Args:
        close: closes it; the peer sees an end.
    """

    def reset(fd: int) -> None:
        reset_on_close(fd)
        close(fd)

    return reset


class Refusals:
    """Refuses connections that plugins do not know of.

    Args:
        listeners: the listeners.
        closes: what closes a descriptor, by listener; see `closers`.
        row: this worker's row of the scoreboard.
        slot: the worker's slot.
        clock: the worker's loop.
        telemetry: told of what is refused, at most once in a while for each cause.
        capacity: told that there is room again.

    Attributes:
        note: writes down what is refused (host.ipc.recent); None to do without.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        closes: Sequence[Closers],
        row: Row,
        slot: int,
        clock: Loop,
        telemetry: Telemetry,
        capacity: Capacity,
    ) -> None:
        self._listeners, self._closes, self._row, self._slot = listeners, closes, row, slot
        self._clock, self._telemetry, self._capacity = clock, telemetry, capacity
        self._untold: dict[tuple[int, int], _Untold] = {}
        self.note: Callable[..., None] | None = None

    def refuse_told(self, fd: int, listener: int, cause: int, peer: str, why: str) -> None:
        """Refuse, as `refuse` does, a peer that has been sent why: it sees an end, never a reset.

        A reset would take what it has been sent away from it.
        """
        discard_unread(os.read, fd)
        self._closes[listener].end(fd)
        self._capacity.free()
        self.count(listener, cause, peer, why)

    def refuse(self, fd: int, listener: int, cause: int, peer: str, why: str) -> None:
        """Close the descriptor of a connection that was accepted and not begun.

        Args:
            fd: the descriptor.
            listener: the number of the listener that it came in on.
            cause: the counter of the scoreboard for this kind of refusal.
            peer: the other end, as text.
            why: what is wrong, for the log.
        """
        self._closes[listener].refuse(fd)
        self._capacity.free()
        self.count(listener, cause, peer, why)

    def count(self, listener: int, cause: int, peer: str, why: str) -> None:
        """Count and tell as `refuse` does, of a connection that ends by other means."""
        self._row.add(listener, cause)
        if self.note is not None:
            self.note(Kind.REFUSED, 0, listener, cause)
        if cause not in _NOT_TOLD:
            self._tell(listener, cause, peer, why)

    def _tell(self, listener: int, cause: int, peer: str, why: str) -> None:
        kind = listener, cause
        if kind in self._untold:
            self._untold[kind] = _Untold(self._untold[kind].number + 1, peer, why)
            return
        self._untold[kind] = _Untold(0, peer, why)
        self._emit(listener, 1, peer, why)
        self._clock.call_at(self._clock.now + _TELL_AGAIN_SECONDS, lambda: self._tell_rest(kind))

    def _tell_rest(self, kind: tuple[int, int]) -> None:
        """Tell of those that have come since; if there are none, the next one is told at once."""
        count, peer, why = self._untold.pop(kind)
        if count:
            self._untold[kind] = _Untold(0, peer, why)
            self._emit(kind[0], count, peer, why)
            later = self._clock.now + _TELL_AGAIN_SECONDS
            self._clock.call_at(later, lambda: self._tell_rest(kind))

    def _emit(self, listener: int, count: int, peer: str, why: str) -> None:
        address = self._listeners[listener].address
        self._telemetry.emit(
            CONNECTIONS_REFUSED, slot=self._slot, address=address, count=count, peer=peer, why=why
        )
