"""Series: what plugins count, and the host of plugins, in memory that all processes share.

Unlike the scoreboard, whose words are the host's own, the memory is laid out by families that are
known when a generation starts. The supervisor has a row, and each row of the scoreboard has one.
Each row has one writer, and a word is an aligned double (see `host.ipc.scoreboard` on why no lock
is needed): whole numbers up to 2**53 are exact.
"""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from host.ipc.scoreboard import MAX_ROWS, WORD
from host.ipc.shared_memory import SharedCells

Kind = Literal["counter", "gauge", "histogram"]
SUPERVISOR = 0
"""The row of the supervisor; that of a row of the scoreboard is one more than its number."""


class Family(NamedTuple):
    """A metric with all its series.

    Attributes:
        name: its whole name, as it is shown.
        kind: what it is.
        help: what it counts, in a sentence.
        labels: the names of its labels.
        bounds: of a histogram, the upper bounds of all buckets but the last.
        series: the values of its labels, for each series.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    series: tuple[tuple[str, ...], ...] = ((),)

    @property
    def words(self) -> int:
        """How many words each series has: a value; or the counts of the buckets and the sum."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1

    @property
    def size(self) -> int:
        """How many words all series have."""
        return self.words * len(self.series)

    def has_shape_of(self, other: Family) -> bool:
        """Tell whether what another one has counted can go on here."""
        mine = self.kind, self.labels, self.bounds
        return mine == (other.kind, other.labels, other.bounds)

    def places(self, first: int) -> dict[tuple[str, ...], int]:
        """Return where each series begins, if the family begins at `first`."""
        return {each: first + self.words * number for number, each in enumerate(self.series)}


def split(
    families: Iterable[Family], words: list[float]
) -> Iterator[tuple[Family, tuple[str, ...], list[float]]]:
    """Yield each series out of all words: its family, the values of its labels, its words."""
    place = 0
    for family in families:
        for values in family.series:
            yield family, values, words[place : place + family.words]
            place += family.words


class OwnSeries:
    """The words that this process writes: of its own until there is shared memory, then its row.

    Attributes:
        words: all words.
        base: the index of the first one of this process.
        families: what they are, in order.
        board: the shared memory; None as long as there is none.
        others: all processes that count, this one included, where a test has several without it.
    """

    __slots__ = ("base", "board", "families", "others", "words")

    def __init__(self) -> None:
        self.words: array[float] | memoryview[float] = array("d")
        self.base = 0
        self.families: list[Family] = []
        self.board: SeriesBoard | None = None
        self.others: list[OwnSeries] = [self]

    def add(self, family: Family) -> int:
        """Lay out one family more; return where it begins. There is no shared memory yet."""
        assert isinstance(self.words, array)
        first = len(self.words)
        self.words.extend([0.0] * family.size)
        self.families.append(family)
        return first

    def share(self, rows: int = MAX_ROWS + 1) -> SeriesBoard | None:
        """Return memory in which this is the supervisor; None for no words.

        What was counted so far goes on there. The caller closes the memory.

        Args:
            rows: how many rows it has: those of a generation, or only that of the supervisor.

        Raises:
            OSError: there is none left.
        """
        if not self.words:
            return None
        counted, self.board = self.words, SeriesBoard(self.families, rows=rows)
        self.use(SUPERVISOR)
        for number, value in enumerate(counted):
            self.words[number] = value
        return self.board

    def use(self, row: int) -> None:
        """Write to a row of the shared memory from now on, if there is any."""
        if self.board is not None:
            self.words, self.base = self.board.cells, self.board.base(row)

    def leave(self) -> None:
        """Write nothing that is shared any more: this process does not count there."""
        words = sum(each.size for each in self.families)
        self.words, self.base = array("d", [0.0]) * words, 0

    def close(self) -> None:
        """Close the shared memory, if there is any; nothing may be counted any more."""
        if self.board is not None:
            self.board.close()

    def total(self, place: int) -> float:
        """Return the sum of one word over all processes that share the memory."""
        if self.board is None:
            return math.fsum(each.words[place] for each in self.others)
        return self.board.total(place)

    def places(self, name: str) -> dict[tuple[str, ...], int]:
        """Return where each series of a family begins, by the values of its labels."""
        first = 0
        for family in self.families:
            if family.name == name:
                return family.places(first)
            first += family.size
        return {}


class SeriesBoard(SharedCells):
    """The shared memory of one generation; inherited across fork and exec.

    Args:
        families: what its rows count.
        fd: the memfd (memfd_create(2)) of one that exists; it is closed by `close`, too.
        rows: how many rows it has; with one, only the supervisor counts in it.

    Attributes:
        cells: all words of all rows.
        families, rows: see above.
        size: how many bytes it has.

    Raises:
        OSError: there is no memory left for it.
    """

    cells: memoryview[float]

    def __init__(
        self, families: Iterable[Family], fd: int | None = None, rows: int = MAX_ROWS + 1
    ) -> None:
        self.families, self.rows = tuple(families), rows
        self._stride = sum(each.size for each in self.families)
        # Pages of rows that are not used are none.
        super().__init__("series", rows * self._stride * WORD, "d", fd)

    def base(self, row: int) -> int:
        """Return the index of the first word of a row."""
        return row * self._stride

    def read(self, row: int) -> Iterator[tuple[Family, tuple[str, ...], list[float]]]:
        """Yield what each series of a row has: its family, the values of its labels, its words."""
        words: list[float] = self.cells[self.base(row) : self.base(row + 1)].tolist()  # type: ignore[assignment]  # typeshed: int
        return split(self.families, words)

    def total(self, place: int) -> float:
        """Return the sum of one word over all rows, those of processes that have ended included.

        Pages that no row has used have no memory, nor get any by this (lseek(2), SEEK_DATA).
        """
        words: list[float] = []
        stride, end = self._stride, 0
        while True:
            try:
                start = os.lseek(self._fd, end, os.SEEK_DATA)
            except OSError:  # ENXIO: there is no more
                return math.fsum(words)
            hole = os.lseek(self._fd, start, os.SEEK_HOLE)
            first, last = start // (stride * WORD), -(-hole // (stride * WORD))
            words += self.cells[first * stride + place : last * stride : stride].tolist()
            end = last * stride * WORD

    def write_off(self, row: int) -> None:
        """Set the gauges of a row to 0, whose process has ended; counts go on."""
        place = self.base(row)
        for family in self.families:
            if family.kind == "gauge":
                for index in range(place, place + family.size):
                    self.cells[index] = 0.0
            place += family.size
