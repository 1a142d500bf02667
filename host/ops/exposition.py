"""Writes metrics in the text format of Prometheus, and in OpenMetrics where that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

Kind = Literal["counter", "gauge"]


class Metric(NamedTuple):
    """A family of series with one meaning.

    Attributes:
        name: its name, with the unit; that of a counter ends in `_total`.
        kind: whether it is a counter, which never falls, or a gauge.
        help: what it is, in one sentence.
        labels: the names of its labels.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


class Sample(NamedTuple):
    """The value of one series: the values of its labels, in the order of their names."""

    labels: tuple[str | int, ...]
    value: float


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
        series = [_line(metric, sample) for sample in samples]
        if series:
            # In OpenMetrics a counter's family is named without the ending of its series.
            name = metric.name.removesuffix("_total") if is_open else metric.name
            lines += (f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}", *series)
    if is_open:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode()


def _line(metric: Metric, sample: Sample) -> str:
    if not metric.labels:
        return f"{metric.name} {_number(sample.value)}"
    pairs = zip(metric.labels, sample.labels, strict=True)
    labels = ",".join(f'{name}="{str(value).translate(_ESCAPES)}"' for name, value in pairs)
    return f"{metric.name}{{{labels}}} {_number(sample.value)}"


_ESCAPES: Mapping[int, str] = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else repr(float(value))
