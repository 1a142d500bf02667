"""The metrics of plugins, and those of their hooks, as they are shown."""

from __future__ import annotations

from collections.abc import Iterator

from host.hookspecs import ROWS, Process
from host.ipc import scoreboard as board
from host.ipc.assignment import CountedGeneration, OpsAssignment
from host.ipc.series import SUPERVISOR, Family
from host.ipc.series_totals import SeriesCounts
from host.metrics.hooks import HOOK_FAILURES, HOOK_SECONDS
from host.ops.exposition import Metric, Sample, histogram

_SUPERVISOR = "supervisor"
"""What the label `slot` says of what the supervisor has counted."""


def shown(family: Family) -> Metric:
    """Return a family as it is shown; gauges have the process as a label, too."""
    more = ("slot", "pid", "generation") if family.kind == "gauge" else ("slot",)
    return Metric(family.name, family.kind, family.help, (*family.labels, *more))


def read(host: OpsAssignment) -> Iterator[tuple[Metric, list[Sample]]]:
    """Read all series now, of the generations that have workers and of those before.

    A metric is what the newest generation says: each name has one kind, help and set of labels. The
    name of a counter counts without `_total` there, as in OpenMetrics.

    Args:
        host: where they are, the oldest generation first.
    """
    newest = {
        family.name.removesuffix("_total"): family
        for each in host.generations
        for series in each.series
        for family in series.families
    }
    totals = host.ended_series.copy()
    for each in host.generations:
        for series in each.series:
            totals.add(series, each.scoreboard)
    for family, counts in totals:
        if newest.get(family.name.removesuffix("_total"), family).kind != family.kind:
            continue
        metric = shown(family)
        yield (
            metric,
            [
                sample
                for each in counts
                if _is_shown(family, each)
                for sample in _samples(family, each)
            ],
        )
    gauges: dict[Metric, list[Sample]] = {}
    for each in host.generations:
        for family, labels, value in _gauges(each, host.parent):
            latest = newest[family.name.removesuffix("_total")]
            if latest.has_shape_of(family):
                gauges.setdefault(shown(latest), []).append(Sample(labels, _number(value)))
    yield from gauges.items()


def _is_shown(family: Family, counts: SeriesCounts) -> bool:
    """Tell whether a series is shown, also while it is 0: if its process may count in it."""
    if any(counts.words):
        return True
    if family.name == HOOK_SECONDS.name:
        return False  # nobody waits for the first increase of a histogram, and it is long
    if family.name != HOOK_FAILURES.name:
        return counts.slot is not None
    hook = counts.values[-1]
    process = ROWS[hook].process if hook in ROWS else Process.WORKER
    return (process is Process.SUPERVISOR) == (counts.slot is None)


def _samples(family: Family, counts: SeriesCounts) -> list[Sample]:
    labels = (*counts.values, _SUPERVISOR if counts.slot is None else counts.slot)
    if family.kind == "histogram":
        *buckets, total = counts.words
        return histogram(labels, [int(each) for each in buckets], family.bounds, total)
    return [Sample(labels, _number(counts.words[0]))]


def _number(value: float) -> float:
    return int(value) if value.is_integer() else value


def _gauges(
    generation: CountedGeneration, supervisor: int
) -> Iterator[tuple[Family, tuple[str | int, ...], float]]:
    """Yield the gauges of all processes of a generation that are alive.

    Of the supervisor's, that of a scheduler that was swapped in stands for that of one before it.
    """
    alive = [
        (row.number + 1, row.slot, pid)
        for row in generation.scoreboard.rows
        if (pid := row.get(board.PID)) and row.slot is not None
    ]
    of_supervisor = {
        (family.name, values): (family, words[0])
        for series in generation.series
        for family, values, words in series.read(SUPERVISOR)
        if family.kind == "gauge"
    }
    for (_name, values), (family, value) in of_supervisor.items():
        if value:
            yield family, (*values, _SUPERVISOR, supervisor, generation.number), value
    for row, slot, pid in alive:
        for series in generation.series:
            if series.rows > 1:
                for family, values, words in series.read(row):
                    if family.kind == "gauge":
                        yield family, (*values, slot, pid, generation.number), words[0]
