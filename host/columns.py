"""Columns: lines of cells, aligned for people."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(lines: Sequence[Sequence[str]], text: Collection[int]) -> str:
    """Return lines whose columns are as wide as their longest cell.

    Args:
        lines: the cells of each line, as many in each.
        text: the numbers of the columns that begin at the left; the others are numbers.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
