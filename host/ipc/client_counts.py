"""Counts connections by client over all workers: shared memory of a fixed size, without locks.

One memfd (memfd_create(2)) is mapped before the first fork that needs it, and goes through each
reload: workers of all generations count in it. Each living worker has a row that it alone writes. A
row has two tables of 65,536 cells. A client counts in one cell of each, which a hash of its address
tells; so no address is stored, and no number of addresses makes it grow.

A client's count is the smaller one of its two columns, each summed over the rows. A column also has
what other clients count there. So a count may be too high, which takes a collision in both tables
at once, and is never too low: this is a count-min sketch (Cormode and Muthukrishnan, 2005). The
hash has a secret, since whoever could foretell collisions could keep others out.

To add, a worker raises its own cells first and sums the columns then. Of two workers that do so at
the same moment at least one sees what both have added: together they never let in one too many.
(CPython has no memory barriers. On a processor that delays writes longer than x86 does, two workers
that accept within the same microsecond might both get the last place.)
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Sequence

from host.errors import LimitsError
from host.ipc.scoreboard import WORD, Cells
from host.ipc.shared_memory import map_shared, too_much

TABLE = 65_536
"""Cells of a table: as many as two bytes of a hash can tell apart."""
MAX_ROWS = 2_048
"""Workers of all generations that can live at once. Rows that are not used cost no memory."""
SECRET_BYTES = 16
Place = tuple[int, int]
"""Where a client counts: its cell in the first table and in the second one, from a row's start."""

_PAIR = 2 * TABLE
_FULL = 65_535
_TRIES = 50
# The header, in words: which rows are in use (a number that grows after each change, how many there
# are, and which, in any order); the secret; and for each row when its two windows began.
_CHANGES, _USED = 0, 1
_SECRET = 2
_NUMBERS = 4
_WINDOWS = _NUMBERS + MAX_ROWS
_HEADER_WORDS = _WINDOWS + 2 * MAX_ROWS
_ROW_CELLS = 3 * _PAIR
"""Of open connections, and of those that came in two windows of time."""
_EMPTY = memoryview(bytes(2 * _PAIR)).cast("H")  # 16 bits each


class ClientCounts:
    """The shared mapping; inherited across fork and exec. Only the supervisor gives out rows.

    Args:
        fd: the memfd of a mapping that exists; it is closed by `close`, too.
        rows_in_use: the rows whose workers are alive.

    Attributes:
        size: how many bytes it has.

    Raises:
        LimitsError: there is no address space for it.
    """

    def __init__(self, fd: int | None = None, rows_in_use: Iterable[int] = ()) -> None:
        self.size = size = (_HEADER_WORDS + MAX_ROWS * _ROW_CELLS * 2 // WORD) * WORD
        try:
            self._fd, self._map = map_shared("clients", size, fd)
        except OSError as error:
            raise LimitsError(
                f"limits.max_per_client and rate_per_client need {too_much(size, error)}"
            ) from error
        self._words = memoryview(self._map).cast("Q")
        self._cells = memoryview(self._map).cast("H")
        at = _SECRET * WORD
        if fd is None:
            self._map[at : at + SECRET_BYTES] = os.urandom(SECRET_BYTES)
        # In this memory alone: no log, no command and no record of a reload has it.
        self._secret = self._map[at : at + SECRET_BYTES]
        self._used = set(rows_in_use)
        self._free = [row for row in range(MAX_ROWS) if row not in self._used]
        for number in set(_listed(self._words)) - self._used:
            self._take_off(number)

    def fileno(self) -> int:
        """Return the descriptor of the memfd."""
        return self._fd

    def take_row(self) -> int:
        """Return the number of a row that is taken into use. Call it before the fork.

        Raises:
            LimitsError: all are taken.
        """
        if not self._free:
            raise LimitsError(f"{MAX_ROWS} workers that count clients are alive")
        number = heapq.heappop(self._free)
        self._used.add(number)
        words = self._words
        words[_NUMBERS + words[_USED]] = number
        words[_USED] += 1
        words[_CHANGES] += 1
        return number

    def give_back(self, number: int) -> None:
        """Free the row of a worker that is dead: its connections count no more."""
        self._take_off(number)
        self._used.discard(number)
        heapq.heappush(self._free, number)

    def row(self, number: int) -> ClientRow:
        """Return one row, for the worker that it was taken for."""
        return ClientRow(self._words, self._cells, number, self._secret)

    def total(self) -> int:
        """Return how many connections are counted, over all rows."""
        starts = map(_row_start, self._used)
        return sum(sum(self._cells[start : start + TABLE]) for start in starts)

    def close(self) -> None:
        """Unmap and close; rows must not be used any more."""
        self._words.release()
        self._cells.release()
        self._map.close()
        os.close(self._fd)

    def _take_off(self, number: int) -> None:
        """Empty a row, and have the last one of those in use listed in its place.

        Whoever reads the list meanwhile finds that one twice, and never too few.
        """
        start, words = _row_start(number), self._words
        self._cells[start : start + _PAIR] = _EMPTY
        for window in range(2):
            words[_WINDOWS + 2 * number + window] = 0
        rows = _listed(words)
        words[_NUMBERS + rows.index(number)] = rows[-1]
        words[_USED] = len(rows) - 1
        words[_CHANGES] += 1


class ClientRow:
    """The row of one worker, which alone writes it, and what it sees of all others.

    Args:
        words: the mapping as unsigned 64-bit words.
        cells: the mapping as unsigned 16-bit words.
        number: the row's number.
        secret: the key of the hash that tells where a client counts.
    """

    __slots__ = ("_cells", "_changes", "_own", "_starts", "_tables", "_windows", "_words", "secret")

    def __init__(self, words: Cells, cells: memoryview, number: int, secret: bytes) -> None:
        self._words, self._cells, self.secret = words, cells, secret
        self._own, self._windows = _row_start(number), _WINDOWS + 2 * number
        self._starts: Sequence[int] = ()
        # For each of the two windows and each row: which word says when it began, and its cells.
        self._tables: Sequence[Sequence[tuple[int, int]]] = ((), ())
        self._changes = -1

    def add(self, place: Place, limit: int) -> bool:
        """Count one connection of a client more, unless it would be one too many.

        Args:
            place: where the client counts.
            limit: how many it may have.

        Returns:
            False if it has as many as it may, or seems to: nothing is counted then.
        """
        first, second = place
        cells, own = self._cells, self._own
        for _ in range(_TRIES):
            if cells[own + first] == _FULL or cells[own + second] == _FULL:
                return False
            cells[own + first] += 1
            cells[own + second] += 1
            if self._count(place) <= limit:
                return True
            self.remove(place)
            # Another worker may have added at the same moment, and take it back as this one does.
            # Whoever does so last sees that there is room.
            if self._count(place) >= limit:
                return False
        return False

    def remove(self, place: Place) -> None:
        """Count one connection less that was added in this row."""
        cells, own = self._cells, self._own
        cells[own + place[0]] -= 1
        cells[own + place[1]] -= 1

    def arrive(self, place: Place, limit: int, now: int, window: int) -> bool:
        """Count one arrival of a client, unless it would be one too many.

        Arrivals count in this window of time and in the last one, of which only the part counts
        that is less than a window ago: as if they had come evenly.

        Args:
            place: where the client counts.
            limit: how many may arrive in any window.
            now: the time, in nanoseconds of the monotonic clock.
            window: how long a window is, in nanoseconds: the same for all arrivals of this row.

        Returns:
            False if as many have arrived as may, or seem to: nothing is counted then.
        """
        start = now - now % window
        table = now // window % 2
        if self._words[self._windows + table] != start:
            self._clear(table, start)
        cells, own = self._cells, self._own + _PAIR * (1 + table)
        first, second = place
        if cells[own + first] == _FULL or cells[own + second] == _FULL:
            return False
        cells[own + first] += 1
        cells[own + second] += 1
        this = self._arrivals(place, table, start)
        last = self._arrivals(place, 1 - table, start - window)
        left = window - (now - start)
        if (
            min(one * window + other * left for one, other in zip(this, last, strict=True))
            <= limit * window
        ):
            return True
        cells[own + first] -= 1
        cells[own + second] -= 1
        return False

    def _count(self, place: Place) -> int:
        """Return how many connections a client has, or seems to have, in all workers."""
        if self._words[_CHANGES] != self._changes:
            self._read_rows()
        cells = self._cells
        first, second = place
        one = other = 0
        for start in self._starts:
            one += cells[start + first]
            other += cells[start + second]
        return min(one, other)

    def _arrivals(self, place: Place, table: int, start: int) -> tuple[int, int]:
        """Return the sums of a client's two columns for the window that began at `start`.

        Only rows count whose table is for that window: others have had no arrivals in it.
        """
        if self._words[_CHANGES] != self._changes:
            self._read_rows()
        words, cells = self._words, self._cells
        first, second = place
        one = other = 0
        for window, at in self._tables[table]:
            if words[window] == start:
                one += cells[at + first]
                other += cells[at + second]
        return one, other

    def _read_rows(self) -> None:
        """Read which rows there are; how often that has changed is read before."""
        words = self._words
        self._changes = words[_CHANGES]
        rows = _listed(words)
        self._starts = [_row_start(number) for number in rows]
        self._tables = [
            [
                (_WINDOWS + 2 * number + table, _row_start(number) + _PAIR * (1 + table))
                for number in rows
            ]
            for table in range(2)
        ]

    def _clear(self, table: int, start: int) -> None:
        """Empty one of the own tables for a new window; it counts for none meanwhile."""
        at = self._own + _PAIR * (1 + table)
        self._words[self._windows + table] = 0
        self._cells[at : at + _PAIR] = _EMPTY
        self._words[self._windows + table] = start


def _row_start(number: int) -> int:
    """Return the index of a row's first cell."""
    return _HEADER_WORDS * (WORD // 2) + number * _ROW_CELLS


def _listed(words: Cells) -> list[int]:
    """Return which rows are in use, as the header has them."""
    return [words[_NUMBERS + at] for at in range(words[_USED])]
