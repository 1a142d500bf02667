"""Writes metrics in the text format of Prometheus, and in OpenMetrics where that is asked for."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram"]


class Metric(NamedTuple):
    """A family of series with one meaning.

    Attributes:
        name: its name, with the unit; that of a counter ends in `_total`.
        kind: a counter, which never falls, a gauge, or a histogram of times.
        help: what it is, in one sentence.
        labels: the names of its labels.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


class Sample(NamedTuple):
    """The value of one series.

    Attributes:
        labels: the values of its labels, in the order of their names.
        value: the value.
        part: what follows the name of the metric: `_bucket`, `_sum` or `_count` of a histogram.
        below: the upper bound of a bucket.
    """

    labels: tuple[str | int, ...]
    value: float
    part: str = ""
    below: float | None = None


def histogram(
    labels: tuple[str | int, ...], counts: Sequence[float], bounds: Sequence[float], total: float
) -> list[Sample]:
    """Return the series of one histogram.

    Args:
        labels: the values of its labels.
        counts: how many there were in each bucket, the last of which has no bound.
        bounds: the upper bounds of the others.
        total: the sum of all values.
    """
    sums = list(itertools.accumulate(counts))
    found = [
        Sample(labels, count, "_bucket", bound)
        for bound, count in zip((*bounds, math.inf), sums, strict=True)
    ]
    return [*found, Sample(labels, total, "_sum"), Sample(labels, sums[-1], "_count")]


@functools.lru_cache(64)  # who asks again asks for the same
def media_type(accepted: str) -> str:
    """Return the format that a client prefers, of its header `Accept` (RFC 9110, 12.5.1).

    Args:
        accepted: the header; "" for none.
    """
    ranked: list[tuple[float, str]] = []
    for part in accepted.lower().split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        ranked.append((quality, name))
    wanted = max(
        (quality for quality, name in ranked if name == "application/openmetrics-text"), default=0.0
    )
    other = max(
        (quality for quality, name in ranked if name in ("text/plain", "text/*", "*/*")),
        default=0.0,
    )
    return OPENMETRICS if wanted > 0 and wanted >= other else TEXT


def write(families: Iterable[tuple[Metric, Iterable[Sample]]], kind: str) -> bytes:
    """Return the text of metrics.

    Args:
        families: the metrics with their samples; those without samples are left out.
        kind: `TEXT` or `OPENMETRICS`.
    """
    is_open = kind == OPENMETRICS
    lines: list[str] = []
    for metric, samples in families:
        series = [f"{series_name(metric, each)} {_number(each.value)}" for each in samples]
        if series:
            lines += (_heading(metric, is_open=is_open), *series)
    if is_open:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode()


@functools.lru_cache(4096)  # they are the same for each scrape
def _heading(metric: Metric, *, is_open: bool) -> str:
    # In OpenMetrics a counter's family is named without the ending of its series.
    name = metric.name.removesuffix("_total") if is_open else metric.name
    help_ = metric.help.translate(_ESCAPES if is_open else _ESCAPES_OF_HELP)
    return f"# HELP {name} {help_}\n# TYPE {name} {metric.kind}"


def series_name(metric: Metric, sample: Sample) -> str:
    """Return the name of a series with its labels, as it is written."""
    name = metric.name + sample.part
    return _series_name(name, metric.labels, sample.labels, sample.below)


@functools.lru_cache(16_384, typed=True)  # a scrape finds nearly all names of the one before
def _series_name(
    name: str, labels: tuple[str, ...], values: tuple[str | int, ...], below: float | None
) -> str:
    pairs = [
        f'{label}="{value if isinstance(value, int) else value.translate(_ESCAPES)}"'
        for label, value in zip(labels, values, strict=True)
    ]
    if below is not None:
        pairs.append(f'le="{_number(below)}"')
    return f"{name}{{{','.join(pairs)}}}" if pairs else name


_ESCAPES: Mapping[int, str] = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_ESCAPES_OF_HELP: Mapping[int, str] = str.maketrans({"\\": r"\\", "\n": r"\n"})


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))
