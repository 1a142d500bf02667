"""What `top` draws: as many workers, with as much of each, as there is room for."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from host.cli import screen
from host.cli.history import MEASURES, History, sparkline
from host.cli.screen import LEFT, STYLES, Table
from host.cli.top import ORDERS, View, brief, head, listeners, percent, workers
from host.text import counted, printable

_BY_IMPORTANCE = (
    "SLOT STATE ACTIVE CPU EVENTS/S ACCEPTED/S MEMORY TURN PID AGE GEN OUTSTANDING ACCEPTED"
)
_CORE = 7
"""So many of the columns are there before tables stand side by side."""
_LISTENERS_BY_IMPORTANCE = "LISTENER ACCEPTED/S WAITING PLUGIN REFUSED ACCEPTED SPURIOUS"
_GAP, _BESIDE = 1, 3
"""Characters between two columns, and between two tables."""
_LEAST_HISTORY, _LEAST_ADDRESS, _LEAST_WORKERS = 12, 20, 4
_NAMES = {"active": "active", "accepted": "accepted/s", "events": "events/s", "cpu": "cpu"}


class Size(NamedTuple):
    """How much room there is, in characters and lines, and which characters there are."""

    width: int
    height: int
    ascii_only: bool = False


def _written(measure: str, value: float | None) -> str | None:
    return percent(value) if measure == "cpu" else brief(value)


def totals(history: History, width: int, *, ascii_only: bool) -> Table:
    """Return the table of what all workers do together, and have done."""
    columns = []
    for measure in MEASURES:
        past = history.past(measure)
        highest = max((value for value in past if value is not None), default=None)
        values = _written(measure, getattr(history.total, measure)), _written(measure, highest)
        columns.append((_NAMES[measure], *values, past))
    rows = [row[:3] for row in columns]
    room = width - sum(Table.of("ALL NOW HIGHEST", rows).widths) - 3 * _GAP
    if room < _LEAST_HISTORY:
        return Table.of("ALL NOW HIGHEST", rows)
    return Table.of(
        "ALL NOW HIGHEST HISTORY",
        [(*row[:3], sparkline(row[3], room, ascii_only=ascii_only)) for row in columns],
    )


def fitting(table: Table, importance: str, width: int, always: str = "") -> Table:
    """Return a table with as many of its columns as there is room for, the most important first."""
    widths = dict(zip(table.columns, table.widths, strict=True))
    chosen: list[str] = []
    left = width + _GAP
    for heading in dict.fromkeys((*always.split(), *importance.split())):
        if widths[heading] + _GAP > left and chosen:
            break
        chosen.append(heading)
        left -= widths[heading] + _GAP
    return table.narrowed(chosen)


def _beside(table: Table, room: int, width: int, always: str) -> tuple[int, Table]:
    """Return how many tables stand side by side, and the table with the columns of each."""
    core = " ".join(_BY_IMPORTANCE.split()[:_CORE])
    least = sum(each + _GAP for each in fitting(table, core, width, always).widths) + _BESIDE
    count = max(1, min(-(-len(table.rows) // room), (width + _BESIDE) // least))
    each = (width - (count - 1) * _BESIDE) // count
    return count, fitting(table, _BY_IMPORTANCE, each, always)


def _workers_part(
    status: Mapping[str, Any], history: History, view: View, size: Size
) -> tuple[list[Text], str]:
    """Return the workers that there is room for, as lines, and what is said of the others."""
    order = ORDERS[view.order]
    found = view.sorted(status, history)
    room = max(1, size.height - 1)
    count, table = _beside(workers(found, history), room, size.width, order.heading)
    view.first = max(0, min(view.first, len(found) - room * count))
    shown = slice(view.first, view.first + room * count)
    table = Table(table.columns, table.rows[shown])
    each = (size.width - (count - 1) * _BESIDE) // count
    history_room = each - sum(width + _GAP for width in table.widths)
    if history_room >= _LEAST_HISTORY:
        pasts = (history.past(order.measure, worker["pid"]) for worker in found[shown])
        drawn = [sparkline(past, history_room, ascii_only=size.ascii_only) for past in pasts]
        rows = [(*row, line) for row, line in zip(table.rows, drawn, strict=True)]
        table = Table((*table.columns, "HISTORY"), rows)
    heading, *lines = _table_lines(table, order.heading)
    gap = Text(" " * _BESIDE, no_wrap=True, overflow="ellipsis")
    beside = [gap.join([heading] * max(1, -(-len(lines) // room)))]
    beside += [gap.join(lines[start::room]) for start in range(min(room, len(lines)))]
    first, last = view.first + 1, view.first + len(table.rows)
    return beside, f"workers {first} to {last} of {len(found)}" if last - first + 1 < len(
        found
    ) else ""


def frame(
    status: Mapping[str, Any], history: History, view: View, size: Size, note: str = ""
) -> Group:
    """Return what `top` shows: of many workers as many as there is room for.

    Args:
        status: the state of the host.
        history: what was measured of it.
        view: how the workers are looked at; it is kept within their number.
        size: how much room there is.
        note: what is wrong at present, or "".
    """
    above = _lines(printable(note), size, "bold red") + _lines(head(status, history), size)
    troubles = _lines("\n".join(screen.troubles(status)), size, "yellow")
    left = size.height - len(above) - len(troubles) - 2
    wanted = min(_LEAST_WORKERS, len(status["workers"])) + 2
    parts: list[RenderableType] = [*above]
    all_of_them = totals(history, size.width, ascii_only=size.ascii_only)
    addressed = _with_short_addresses(
        listeners(status, history), max(_LEAST_ADDRESS, size.width // 2)
    )
    known = fitting(addressed, _LISTENERS_BY_IMPORTANCE, size.width)
    most = max(1, size.height // 5)
    others, more = Table(known.columns, known.rows[:most]), max(0, len(known.rows) - most)
    for table in (others, all_of_them):
        needed = len(table.rows) + 2
        if left - needed >= wanted:
            parts[len(above) : len(above)] = ["", table.drawn()]
            left -= needed
    lines, said = _workers_part(status, history, view, size._replace(height=left))
    if more:
        said = ", ".join(filter(None, (said, counted(more, "more listener"))))
    below = Text(_keys(said, view), style="dim", no_wrap=True, overflow="ellipsis")
    return Group(*parts, "", *lines, *troubles, below)


def _table_lines(table: Table, marked: str) -> list[Text]:
    """Return a table that fits as lines: one of the library takes many times as long to draw.

    Args:
        table: the table.
        marked: a heading that is marked.
    """
    widths, lines = table.widths, []
    for row in (table.columns, *table.rows):
        parts = list(zip(row, table.columns, widths, strict=True))
        line = Text(
            (" " * _GAP).join(
                cell.ljust(width) if heading in LEFT else cell.rjust(width)
                for cell, heading, width in parts
            ),
            no_wrap=True,
            overflow="ellipsis",
        )
        start = 0
        for cell, heading, width in parts:
            style = STYLES.get(cell, "")
            if row is table.columns:
                style = "bold reverse" if heading == marked else "bold"
            if style:
                line.stylize(style, start, start + width)
            start += width + _GAP
        lines.append(line)
    return lines


def _lines(text: str, size: Size, style: str = "") -> list[Text]:
    """Return a text in lines that fit the screen, and take a quarter of it at most."""
    cut = [part for line in text.split("\n") for part in textwrap.wrap(line, size.width)]
    if len(cut) > size.height // 4:
        cut = list(filter(None, text.split("\n")))[: max(1, size.height // 4)]
    return [Text(line, style, no_wrap=True, overflow="ellipsis") for line in cut]


def _with_short_addresses(table: Table, most: int) -> Table:
    """Return the table of the listeners with no address longer than `most` characters."""
    rows = [
        (address if len(address) <= most else f"{address[: most - 3]}...", *others)
        for address, *others in table.rows
    ]
    return Table(table.columns, rows)


def _keys(said: str, view: View) -> str:
    """Return the last line: what is not shown, and the keys."""
    keys = "  ".join(f"{each.key} {name}" for name, each in ORDERS.items())
    order = f"by {view.order}{', reversed' if view.reverse else ''}"
    return "; ".join(filter(None, (said, order, f"q quit  r reverse  {keys}")))
