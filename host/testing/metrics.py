"""What plugins have counted, for tests to look at."""

from __future__ import annotations

from collections.abc import Iterable

from host.ipc.series import OwnSeries, split
from host.ops.exposition import Metric, Sample, histogram, series_name


def read_series(processes: Iterable[OwnSeries]) -> dict[str, float]:
    """Return all series by their names with labels, summed over processes."""
    found: dict[str, float] = {}
    for own in processes:
        for family, values, words in split(own.families, list(own.words)):
            metric = Metric(family.name, family.kind, family.help, family.labels)
            samples = [Sample(values, words[0])]
            if family.kind == "histogram":
                samples = histogram(values, words[:-1], family.bounds, words[-1])
            for sample in samples:
                name = series_name(metric, sample)
                found[name] = found.get(name, 0.0) + sample.value
    return found
