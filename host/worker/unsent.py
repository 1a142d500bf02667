"""How many bytes wait in a worker for peers that do not take them, and who is closed for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from host.interfaces import CloseReason

_FREED = 1 / 16
"""Which part of the limit is free after it was exceeded: so all are looked through only after that
many more bytes, and however many peers there are, that costs each byte the same."""


class SlowConnection(Protocol):
    """What is needed of a connection whose peer does not take what is sent."""

    @property
    def unsent(self) -> int:
        """Bytes written and not yet taken by the kernel."""

    def give_up(self, reason: CloseReason) -> None:
        """Drop what is unsent, and end with `reason` at the end of the turn."""


class UnsentBytes:
    """The sum over all connections of a worker, bounded by closing those with the most.

    They are closed rather than the one that exceeds the limit: that may be anybody.

    Args:
        limit: how many bytes may wait; 0 for any number.

    Attributes:
        total: how many wait.
    """

    __slots__ = ("_limit", "total")

    def __init__(self, limit: int = 0) -> None:
        self._limit, self.total = limit, 0

    def add(self, size: int, stalled: Iterable[SlowConnection]) -> None:
        """Count so many bytes more; close connections if there are too many now.

        Args:
            size: how many.
            stalled: all connections that have any.
        """
        self.total += size
        if 0 < self._limit < self.total:
            self._relieve(stalled)

    def remove(self, size: int) -> None:
        """Count so many bytes less: they were sent, or given up."""
        self.total -= size

    def _relieve(self, stalled: Iterable[SlowConnection]) -> None:
        for connection in sorted(stalled, key=lambda each: each.unsent, reverse=True):
            if self.total <= self._limit * (1 - _FREED):
                return
            connection.give_up(CloseReason.WORKER_UNSENT_LIMIT)
