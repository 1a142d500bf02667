"""Sums of series over all rows, and over generations that have ended: no counter ever falls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import add
from typing import NamedTuple

from host.ipc.scoreboard import Scoreboard
from host.ipc.series import SUPERVISOR, Family, SeriesBoard


class SeriesCounts(NamedTuple):
    """What the processes of one slot have counted in one series.

    Attributes:
        slot: the slot; None for the supervisor.
        values: the values of its labels.
        words: the words, as `Family.words` says.
    """

    slot: int | None
    values: tuple[str, ...]
    words: list[float]


class FamilyCounts(NamedTuple):
    """What was counted in all series of a metric.

    Attributes:
        family: the metric; it does not say which series there are.
        counts: the sums.
    """

    family: Family
    counts: list[SeriesCounts]


class SeriesTotals:
    """Sums of counters and histograms, by series and slot; gauges are not summed.

    A series is known by the name of its metric and by its labels: after a reload it may be at
    another place. When kind, labels or bounds of a metric have changed, it begins anew.

    Args:
        counted: what is counted already.
    """

    def __init__(self, counted: Iterable[FamilyCounts] = ()) -> None:
        self._sums: dict[str, _Sums] = {}
        for family, counts in counted:
            sums = self._of(family)
            for slot, values, words in counts:
                sums.add(slot, values, words)

    def __iter__(self) -> Iterator[FamilyCounts]:
        """Yield all sums."""
        for sums in self._sums.values():
            counts = [SeriesCounts(*key, words) for key, words in sums.words.items()]
            yield FamilyCounts(sums.family._replace(series=()), counts)

    def copy(self) -> SeriesTotals:
        """Return the same sums, to be added to."""
        return SeriesTotals(self)

    def add(self, board: SeriesBoard, scoreboard: Scoreboard) -> None:
        """Add all that is counted in a generation's memory now; `scoreboard` knows its slots."""
        slots = [
            (row.number + 1, row.slot)
            for row in scoreboard.rows
            if row.slot is not None and board.rows > 1
        ]
        summed = {each.name: self._of(each) for each in board.families if each.kind != "gauge"}
        for row, slot in [(SUPERVISOR, None), *slots]:
            for family, values, words in board.read(row):
                if family.name in summed:
                    summed[family.name].add(slot, values, words)

    def keep(self, families: Iterable[Family]) -> None:
        """Forget the metrics that are not among these: nobody counts them any more."""
        for name in self._sums.keys() - {each.name for each in families}:
            del self._sums[name]

    def _of(self, family: Family) -> _Sums:
        """Return the sums of a metric, empty if it is new or of another shape."""
        known = self._sums.get(family.name)
        if known is None or not known.family.has_shape_of(family):
            known = self._sums[family.name] = _Sums(family)
        known.family = family
        return known


class _Sums:
    """The sums of one metric, by slot and values of labels."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.words: dict[tuple[int | None, tuple[str, ...]], list[float]] = {}

    def add(self, slot: int | None, values: tuple[str, ...], words: list[float]) -> None:
        before = self.words.get((slot, values))
        self.words[slot, values] = words if before is None else list(map(add, before, words))
