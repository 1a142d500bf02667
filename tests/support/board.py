"""The scoreboard of a running host, read from outside."""

from __future__ import annotations

import mmap
import os

from host.ipc.scoreboard import (
    ACCEPTED,
    ACTIVE,
    CLAIMED,
    HEADER_WORDS,
    MAX_ROWS,
    REFUSED,
    SENT,
    SETTLED,
    SPURIOUS,
    SUSPENSIONS,
    WORD,
    Row,
)
from support.processes import links_to


class Board:
    """A read-only view of the counters of a supervisor's workers, row by row.

    As long as no two workers share a slot, a row is a slot.
    """

    def __init__(self, supervisor: int, slots: int, listeners: int) -> None:
        # Two descriptors refer to it: Python's mmap keeps one of its own.
        fd = os.open(links_to("/memfd:scoreboard", supervisor)[0], os.O_RDONLY)
        try:
            self._map = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
        finally:
            os.close(fd)
        self._cells = memoryview(self._map).cast("Q")
        stride = (len(self._map) // WORD - HEADER_WORDS) // MAX_ROWS
        self._listeners = listeners
        self._rows = [
            Row(self._cells, HEADER_WORDS + slot * stride, listeners, slot) for slot in range(slots)
        ]

    def _sums(self, counter: int) -> list[int]:
        return [
            sum(row.count(listener, counter) for listener in range(self._listeners))
            for row in self._rows
        ]

    @property
    def active(self) -> list[int]:
        """Open connections of each slot."""
        return [row.get(ACTIVE) for row in self._rows]

    @property
    def accepted(self) -> list[int]:
        return self._sums(ACCEPTED)

    @property
    def spurious(self) -> list[int]:
        return self._sums(SPURIOUS)

    @property
    def refused(self) -> list[int]:
        return self._sums(REFUSED)

    @property
    def sent(self) -> list[int]:
        return self._sums(SENT)

    @property
    def claimed(self) -> list[int]:
        return self._sums(CLAIMED)

    @property
    def settled(self) -> list[int]:
        return self._sums(SETTLED)

    @property
    def suspended(self) -> list[int]:
        """How often each slot was suspended."""
        return [row.get(SUSPENSIONS) for row in self._rows]

    def close(self) -> None:
        self._cells.release()
        self._map.close()
