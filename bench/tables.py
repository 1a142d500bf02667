"""Tables of a report: as rows of text, for the terminal and as Markdown."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

from bench.results import MEASURES, Comparison, Ratio, Report, Verdict, judge
from bench.workloads import GOALS, WORKLOADS

try:
    from rich.console import Console
    from rich.table import Table as RichTable
except ImportError:  # only the host needs it
    Console = None  # type: ignore[assignment,misc]

_COMPARED = {"b": "rate", "d": "rate", "i": "p99_us", "v": "p99_us"}
"""What the last column of a workload's tables compares, where it is not the CPU time."""


@dataclass(frozen=True)
class Table:
    """Rows of text under headings."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: frozenset[int] = frozenset({0})  # columns that are not of numbers


def ratio_text(ratio: Ratio | None) -> str:
    """Show a ratio: the median, then the smallest and the largest."""
    if ratio is None:
        return "-"
    return f"{ratio.median:.2f} ({ratio.min:.2f} to {ratio.max:.2f})"


def _measured(verdict: Verdict) -> str:
    measured = verdict.measured
    if measured is None or verdict.goal.against is not None:
        return ratio_text(measured)
    shape = MEASURES[verdict.goal.measure].format
    low, middle, high = map(shape.format, (measured.min, measured.median, measured.max))
    return f"{middle} ({low} to {high})"


def goals(report: Report) -> Table:
    """Return the goals of the workloads that were run, with what was measured."""
    ran = {one.workload for one in report.comparisons}
    rows = []
    for verdict in judge([goal for goal in GOALS if goal.workload in ran], report.comparisons):
        goal = verdict.goal
        rows.append(
            (
                f"({goal.workload}) {goal.case}",
                goal.what,
                goal.against or "-",
                f"{goal.sense} {goal.limit:g}",
                _measured(verdict),
                verdict.word,
            )
        )
    headings = ("workload", "measure", "against", "goal", "measured", "")
    return Table("Goals", headings, rows, frozenset({0, 1, 2, 5}))


def cases(comparison: Comparison) -> Table:
    """Return one case: a row for each contender, and how ours compares with it."""
    measures = [key for key in comparison.measures() if _worth_showing(comparison, key)]
    compared = _COMPARED.get(comparison.workload, "cpu_us")
    if compared not in measures:
        compared = measures[0]
    rows = []
    for name in comparison.names:
        row = [name]
        for key in measures:
            value = comparison.value(name, key)
            row.append("-" if value is None else MEASURES[key].format.format(value))
        if comparison.pairs:
            ratio = comparison.ratio(name, compared) if name != comparison.ours else None
            row.append(ratio_text(ratio))
        rows.append(row)
    headings = [comparison.unit, *(MEASURES[key].label for key in measures)]
    if comparison.pairs:
        headings.append(f"ours/theirs, {MEASURES[compared].label}")
    return Table(comparison.case, headings, rows)


def _worth_showing(comparison: Comparison, key: str) -> bool:
    if key.startswith("errors"):
        return any(comparison.value(name, key) for name in comparison.names)
    if key == "mib_per_second":
        return comparison.workload == "b"
    return key != "server_cores"


def curve(comparisons: Sequence[Comparison]) -> Table:
    """Return the cases of a series in one table, a row each."""
    measures = [
        key for key in comparisons[0].measures() if key in ("cpu_us", "rate", "pass_us", "burst_us")
    ]
    others = list(comparisons[0].pairs)
    headings = [comparisons[0].series, *(MEASURES[key].label for key in measures)]
    headings += [f"CPU, ours/{name}" for name in others]
    rows = []
    for one in comparisons:
        row = [f"{one.x:,.0f}"]
        for key in measures:
            value = one.value(one.ours, key)
            row.append("-" if value is None else MEASURES[key].format.format(value))
        row += [ratio_text(one.ratio(name, "cpu_us")) for name in others]
        rows.append(row)
    return Table(f"by {comparisons[0].series}", headings, rows)


def of_workload(comparisons: Sequence[Comparison]) -> list[Table]:
    """Return the tables of one workload."""
    tables = [cases(one) for one in comparisons if not one.series]
    for series in dict.fromkeys(one.series for one in comparisons if one.series):
        tables.append(curve([one for one in comparisons if one.series == series]))
    return tables


def by_workload(report: Report) -> Iterable[tuple[str, list[Comparison]]]:
    """Go through the workloads that were run, in their order, each with its title."""
    for letter, module in WORKLOADS.items():
        found = [one for one in report.comparisons if one.workload == letter]
        if found:
            yield (f"({letter}) " if len(letter) == 1 else "") + module.TITLE, found


def show(report: Report, output: TextIO = sys.stdout) -> None:
    """Write all tables to a terminal."""
    for title, comparisons in by_workload(report):
        print(f"\n{title}\n", file=output, flush=True)
        for table in of_workload(comparisons):
            _print(table, output)
        for note in [note for one in comparisons for note in one.notes]:
            print(f"  not measured: {note}", file=output)
    _print(goals(report), output)


def _print(table: Table, output: TextIO) -> None:
    if not table.rows:
        return
    if Console is None:
        print(plain(table), file=output)
        return
    drawn = RichTable(title=table.title, title_justify="left")
    for number, heading in enumerate(table.headings):
        drawn.add_column(heading, justify="left" if number in table.words else "right")
    for row in table.rows:
        drawn.add_row(*row)
    width = None if output.isatty() else 160
    Console(file=output, width=width, markup=False, highlight=False).print(drawn)


def plain(table: Table) -> str:
    """Return a table of spaces."""
    lines = [list(table.headings), *map(list, table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([table.title, *shown, ""])


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    lines = ["| " + " | ".join(table.headings) + " |"]
    columns = range(len(table.headings))
    lines.append("|" + "".join("---|" if at in table.words else "---:|" for at in columns))
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join(lines)
