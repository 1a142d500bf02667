"""The picture of `simulate --plot`: a bar with its value for each scheduler, pattern and figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Bar(NamedTuple):
    """What one scheduler made of one pattern: a value for each panel."""

    pattern: str
    scheduler: str
    values: tuple[float, ...]


class Panel(NamedTuple):
    """One of the figures that are drawn.

    Attributes:
        title: what it is, and its unit.
        best: the value at which bars begin: none can be better.
        form: how a value is written.
        may_be_log: whether the scale is logarithmic where values differ by far.
    """

    title: str
    best: float
    form: str
    may_be_log: bool = False


LOG = "log scale"
_NOTE = "Shorter bars are better. Each pattern has scales of its own."
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#999999")
"""Told apart with any kind of colour vision (Okabe and Ito, "Color Universal Design")."""
_FAR = 20
"""By how many times values may differ on a linear scale: the shortest bar then has 10 pixels."""
_ROOM = 1.3
"""How much longer than its longest bar a panel is: a value stands behind each bar."""
_BAR_INCHES, _HEAD_INCHES, _WIDTH_INCHES, _DOTS_PER_INCH = 0.23, 0.42, 9.5, 120
_NAME_CHARS = 26
_TITLE_POINTS = (0, 30)
"""Where a title stands above the panels on top: the name of the pattern is between."""


def draw(bars: Sequence[Bar], panels: Sequence[Panel], figure_class: Any) -> Any:
    """Draw bars: a row of panels for each pattern, in each a bar for each scheduler.

    A pattern that is unlike the others has its scales for itself; so it flattens none of them.

    Args:
        bars: one for each scheduler and pattern.
        panels: what the values of a bar are.
        figure_class: matplotlib's Figure.

    Returns:
        The figure; its method `savefig` writes it.
    """
    patterns = list(dict.fromkeys(bar.pattern for bar in bars))
    schedulers = list(dict.fromkeys(bar.scheduler for bar in bars))
    height = (_HEAD_INCHES + _BAR_INCHES * len(schedulers)) * len(patterns) + 2 * _HEAD_INCHES
    figure = figure_class((_WIDTH_INCHES, height), dpi=_DOTS_PER_INCH, layout="constrained")
    rows = figure.subplots(len(patterns), len(panels), squeeze=False)
    for pattern, row in zip(patterns, rows, strict=True):
        found = [bar for bar in bars if bar.pattern == pattern]
        for place, (axes, panel) in enumerate(zip(row, panels, strict=True)):
            _draw_panel(axes, panel, [bar.values[place] for bar in found])
            axes.set_yticks([])
        row[0].set_yticks(range(len(found)), [_short(bar.scheduler) for bar in found])
        row[0].set_title(_short(pattern), loc="left", fontweight="bold")
    for axes, panel in zip(rows[0], panels, strict=True):
        where = {"xycoords": "axes fraction", "textcoords": "offset points"}
        axes.annotate(panel.title, (0, 1), _TITLE_POINTS, va="bottom", **where)
    figure.supxlabel(_NOTE, fontsize="small")
    return figure


def _draw_panel(axes: Any, panel: Panel, values: Sequence[float]) -> None:
    """Draw the bars of one pattern, the first on top, with a value behind each."""
    highest = max(values)
    drawn = [value for value in values if value > panel.best]
    if panel.may_be_log and drawn and highest > _FAR * min(drawn):
        start = min(drawn) / 2
        axes.set_xscale("log")
        axes.set_xlim(start, highest * (highest / start) ** (_ROOM - 1))
        axes.set_title(LOG, loc="right", fontsize="small", fontstyle="italic")
    else:
        start = panel.best
        axes.set_xlim(start, start + ((highest - start) or 1) * _ROOM)
    for place, value in enumerate(values):
        colour = _COLOURS[place % len(_COLOURS)]
        axes.barh(place, max(0, value - start), left=start, color=colour, height=0.8)
        text = f" {value:{panel.form}}"
        axes.text(max(value, start), place, text, va="center", fontsize="medium")
    axes.set_ylim(len(values) - 0.4, -0.6)
    axes.tick_params(axis="x", which="both", labelbottom=False, length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _short(name: str) -> str:
    """Return a name or, of a long one such as a path, its end, which says most."""
    return name if len(name) <= _NAME_CHARS else f"…{name[1 - _NAME_CHARS :]}"
