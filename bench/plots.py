"""Plots of a report, as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.contenders import OURS
from bench.results import MEASURES, Comparison, Report, Verdict, judge
from bench.workloads import GOALS

_OURS, _OTHERS, _GOAL, _MISSED = "#1f6fb4", "#b0b7bf", "#222222", "#c8501e"


class PlotError(Exception):
    """matplotlib is not installed."""


def _pyplot() -> Any:
    try:
        import matplotlib  # noqa: PLC0415 - only needed, and only installed, for plots
        from matplotlib import pyplot  # noqa: PLC0415
    except ImportError as error:
        raise PlotError("plots need matplotlib: pip install 'prefork[bench]'") from error
    matplotlib.use("Agg")
    return pyplot


def _logarithmic(axis: Any, places: Sequence[float] | None = None) -> None:
    """Scale an x axis by powers, with plain numbers: at `places`, or 1, 2 and 5 of each power."""
    from matplotlib import ticker  # noqa: PLC0415 - as above

    axis.axes.set_xscale("log")
    locator = ticker.FixedLocator(places) if places else ticker.LogLocator(subs=(1, 2, 5))
    axis.set_major_locator(locator)
    axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(ticker.NullFormatter())
    axis.set_minor_locator(ticker.NullLocator())


def _save(pyplot: Any, figure: Any, path: Path) -> Path:
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def draw(report: Report, folder: Path) -> dict[str, Path]:
    """Draw what there are readings for; return the files by what they show."""
    pyplot = _pyplot()
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    verdicts = [
        one
        for one in judge(GOALS, report.comparisons)
        if one.measured is not None and one.measured.median > 0
    ]
    if verdicts:
        files["goals"] = _goals(pyplot, verdicts, folder / "goals.png")
    for workload, name in (("a", "echo"), ("b", "bulk"), ("c", "lines"), ("h", "mixed")):
        found = [one for one in report.comparisons if one.workload == workload]
        if found:
            files[name] = _bars(pyplot, found, "cpu_us", folder / f"{name}.png")
    found = [one for one in report.comparisons if one.workload == "a"]
    if found:
        files["latency"] = _latencies(pyplot, found, folder / "latency.png")
    found = [one for one in report.comparisons if one.workload == "d" and "at a time" in one.case]
    if found:
        files["connects"] = _bars(pyplot, found, "rate", folder / "connects.png")
    for workload, name in (("scale", "scale"), ("dispatch", "dispatch")):
        found = [one for one in report.comparisons if one.workload == workload]
        if found:
            files[name] = _curves(pyplot, found, folder / f"{name}.png")
    return files


def _goals(pyplot: Any, verdicts: Sequence[Verdict], path: Path) -> Path:
    """Draw what was measured as a part of what is allowed: left of the line is good."""
    figure, axes = pyplot.subplots(figsize=(9, 0.42 * len(verdicts) + 1.2))
    for place, one in enumerate(reversed(verdicts)):
        assert one.measured is not None
        goal, values = one.goal, (one.measured.min, one.measured.median, one.measured.max)
        parts = [value / goal.limit for value in values]
        if goal.sense == "≥":
            parts = [goal.limit / max(value, 1e-9) for value in reversed(values)]
        colour = _OURS if one.reached else _MISSED
        axes.plot([parts[0], parts[2]], [place, place], color=colour, linewidth=2)
        axes.plot(parts[1], place, "o", color=colour)
    labels = [
        f"({one.goal.workload}) {one.goal.what}"
        + (f", against {one.goal.against}" if one.goal.against else "")
        for one in reversed(verdicts)
    ]
    axes.set_yticks(range(len(verdicts)), labels, fontsize=8)
    axes.axvline(1.0, color=_GOAL, linewidth=1)
    _logarithmic(axes.xaxis)
    axes.set_xlabel("measured, as a part of the goal; left of the line it is reached")
    return _save(pyplot, figure, path)


def _bars(pyplot: Any, comparisons: Sequence[Comparison], measure: str, path: Path) -> Path:
    """Draw a measure of each contender, a panel for each case."""
    columns = min(3, len(comparisons))
    rows = -(-len(comparisons) // columns)
    most = max(len(one.names) for one in comparisons)
    size = (4.2 * columns, (0.32 * most + 1.1) * rows)
    figure, panels = pyplot.subplots(rows, columns, figsize=size, squeeze=False)
    for axes in panels.flat[len(comparisons) :]:
        axes.set_visible(False)
    for axes, one in zip(panels.flat, comparisons, strict=False):
        names = [name for name in one.names if one.value(name, measure) is not None]
        values = [one.value(name, measure) for name in names]
        colours = [_OURS if name == OURS else _OTHERS for name in names]
        axes.barh(names, values, color=colours)
        shown = [MEASURES[measure].format.format(value) for value in values]
        axes.bar_label(axes.containers[0], shown, fontsize=7, padding=2)
        axes.margins(x=0.22)
        axes.invert_yaxis()
        axes.tick_params(labelsize=7)
        axes.set_title(one.case, fontsize=9)
        label = f"CPU µs per {one.unit}" if measure == "cpu_us" else f"{one.unit}s a second"
        axes.set_xlabel(label, fontsize=8)
    return _save(pyplot, figure, path)


def _latencies(pyplot: Any, comparisons: Sequence[Comparison], path: Path) -> Path:
    figure, panels = pyplot.subplots(
        1, len(comparisons), figsize=(4.2 * len(comparisons), 4), squeeze=False
    )
    for axes, one in zip(panels.flat, comparisons, strict=True):
        for measure, mark in (("p50_us", "o"), ("p99_us", "s"), ("p999_us", "^")):
            values = [one.value(name, measure) for name in one.names]
            colours = [_OURS if name == OURS else _OTHERS for name in one.names]
            label = {"p50_us": "p50", "p99_us": "p99", "p999_us": "p99.9"}[measure]
            axes.scatter(values, one.names, c=colours, marker=mark, label=label, edgecolors=_GOAL)
        _logarithmic(axes.xaxis)
        axes.invert_yaxis()
        axes.tick_params(labelsize=7)
        axes.tick_params(axis="x", rotation=45)
        axes.set_title(one.case, fontsize=9)
        axes.set_xlabel("µs from question to answer", fontsize=8)
    figure.legend(*axes.get_legend_handles_labels(), fontsize=7, ncols=3, loc="upper left")
    return _save(pyplot, figure, path)


def _curves(pyplot: Any, comparisons: Sequence[Comparison], path: Path) -> Path:
    every = list(dict.fromkeys(one.series for one in comparisons))
    figure, panels = pyplot.subplots(1, len(every), figsize=(4.6 * len(every), 3.6), squeeze=False)
    for axes, series in zip(panels.flat, every, strict=True):
        cases = [one for one in comparisons if one.series == series]
        keys = [key for key in cases[0].measures() if key in ("cpu_us", "pass_us", "burst_us")]
        words = {"cpu_us": "", "pass_us": "one waits", "burst_us": "each of 64 that wait"}
        for name in cases[0].names:
            for key in keys:
                values = [one.value(name, key) for one in cases]
                colour = _OURS if name == OURS and key != "burst_us" else _OTHERS
                label = words[key] or name
                axes.plot([one.x for one in cases], values, "o-", color=colour, label=label)
        _logarithmic(axes.xaxis, [one.x for one in cases])
        axes.set_ylim(bottom=0)
        axes.set_xlabel(series, fontsize=8)
        axes.set_ylabel(f"CPU µs per {cases[0].unit}", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.legend(fontsize=7)
    return _save(pyplot, figure, path)
