"""What has been measured: readings, pairs of them, their ratios, and goals."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

Reading = dict[str, float]
"""What one slice has measured, by the name of the measure."""


@dataclass(frozen=True)
class Measure:
    """How a measure is shown: a few words, and a format for its value."""

    label: str
    format: str


MEASURES = {
    "rate": Measure("per second", "{:,.0f}"),
    "mib_per_second": Measure("MiB/s", "{:,.0f}"),
    "cpu_us": Measure("CPU µs each", "{:.2f}"),
    "p50_us": Measure("p50 µs", "{:,.0f}"),
    "p99_us": Measure("p99 µs", "{:,.0f}"),
    "p999_us": Measure("p99.9 µs", "{:,.0f}"),
    "server_cores": Measure("cores, server", "{:.2f}"),
    "load_cores": Measure("cores, clients", "{:.2f}"),
    "kib_each": Measure("KiB each", "{:.3f}"),
    "rest_percent": Measure("% of a core at rest", "{:.3f}"),
    "wakeups": Measure("wake-ups/s", "{:.1f}"),
    "spread": Measure("spread", "{:.0f}"),
    "held_spread": Measure("spread of 200 held", "{:.0f}"),
    "first_answer_ms": Measure("ms", "{:.0f}"),
    "pass_us": Measure("µs a pass", "{:.1f}"),
    "burst_us": Measure("µs each of 64", "{:.2f}"),
    "errors_unanswered": Measure("left waiting", "{:.0f}"),
    "errors": Measure("errors", "{:.0f}"),
}


@dataclass
class Comparison:
    """One case: ours against others, in pairs of slices next to each other in time.

    Attributes:
        workload: its letter or name.
        case: what was done, in a few words.
        unit: what is counted: "message".
        ours: what the first of each pair is.
        pairs: by the other's name: our reading and the other's.
        solo: readings of ours that are compared with nobody.
        series: cases of one series form a curve, `x` says where on it.
        x: how many of what the series is about.
        notes: what could not be measured, and why.
    """

    workload: str
    case: str
    unit: str
    ours: str
    pairs: dict[str, list[tuple[Reading, Reading]]] = field(default_factory=dict)
    solo: list[Reading] = field(default_factory=list)
    series: str = ""
    x: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Ours, then the others."""
        return [self.ours, *self.pairs]

    def readings(self, name: str) -> list[Reading]:
        """Return all readings of one of those compared."""
        if name == self.ours:
            return self.solo + [mine for pairs in self.pairs.values() for mine, _ in pairs]
        return [theirs for _, theirs in self.pairs.get(name, [])]

    def value(self, name: str, measure: str) -> float | None:
        """Return the median of a measure; of errors the sum."""
        values = [one[measure] for one in self.readings(name) if measure in one]
        if not values:
            return None
        return sum(values) if measure.startswith("errors") else median(values)

    def ratio(self, other: str, measure: str) -> Ratio | None:
        """Return ours divided by the other's, pair by pair."""
        return Ratio.of(
            mine[measure] / theirs[measure]
            for mine, theirs in self.pairs.get(other, [])
            if measure in mine and theirs.get(measure, 0) > 0
        )

    def measures(self) -> list[str]:
        """Return the measures that any reading has, in the order of the table."""
        every = {key for name in self.names for one in self.readings(name) for key in one}
        return [key for key in MEASURES if key in every]


def several(count: int, what: str) -> str:
    """Return "1 worker" or "2 workers"."""
    ending = "" if count == 1 else "es" if what.endswith("s") else "s"
    return f"{count:,} {what}{ending}"


@dataclass(frozen=True)
class Ratio:
    """Ratios of several pairs."""

    median: float
    min: float
    max: float
    pairs: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Ratio | None:
        """Sum up; None if there are none."""
        every = sorted(values)
        if not every:
            return None
        return cls(median(every), every[0], every[-1], len(every))


@dataclass(frozen=True)
class Goal:
    """What is to be reached.

    Attributes:
        workload: where it is measured.
        case: the comparison's case.
        measure: a key of `MEASURES`.
        sense: whether the value is to be at most or at least `limit`.
        limit: of the ratio, or of our own value if `against` is None.
        against: whose value ours is divided by.
        what: the words for the table.
    """

    workload: str
    case: str
    measure: str
    sense: Literal["≤", "≥"]
    limit: float
    against: str | None
    what: str


@dataclass(frozen=True)
class Verdict:
    """A goal and what was measured; `measured` is None where nothing was."""

    goal: Goal
    measured: Ratio | None

    @property
    def reached(self) -> bool | None:
        """Whether the median is on the right side; None if nothing was measured."""
        if self.measured is None:
            return None
        if self.goal.sense == "≤":
            return self.measured.median <= self.goal.limit
        return self.measured.median >= self.goal.limit

    @property
    def word(self) -> str:
        """Reached, missed or not measured."""
        return {True: "reached", False: "missed", None: "not measured"}[self.reached]


def judge(goals: Sequence[Goal], comparisons: Sequence[Comparison]) -> list[Verdict]:
    """Compare goals with what was measured."""
    verdicts = []
    for goal in goals:
        measured = None
        for one in comparisons:
            if (one.workload, one.case) != (goal.workload, goal.case):
                continue
            if goal.against is not None:
                measured = one.ratio(goal.against, goal.measure)
            else:
                every = one.readings(one.ours)
                measured = Ratio.of(each[goal.measure] for each in every if goal.measure in each)
        verdicts.append(Verdict(goal, measured))
    return verdicts


@dataclass
class Report:
    """A whole run: where and when, and all comparisons."""

    date: str
    machine: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, float]
    comparisons: list[Comparison] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, paths: Sequence[Path]) -> Report:
        """Read one or several runs; of a case that is in several the last one counts."""
        report = None
        found: dict[tuple[str, str], Comparison] = {}
        for path in paths:
            data: dict[str, Any] = json.loads(path.read_text())
            comparisons = [_comparison(each) for each in data.pop("comparisons")]
            report = cls(**data)
            found |= {(one.workload, one.case): one for one in comparisons}
        assert report is not None
        report.comparisons = list(found.values())
        return report


def _comparison(data: dict[str, Any]) -> Comparison:
    one = Comparison(**data)
    one.pairs = {
        name: [(mine, theirs) for mine, theirs in pairs] for name, pairs in data["pairs"].items()
    }
    return one
