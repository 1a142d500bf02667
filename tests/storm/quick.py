"""The short form of a row as a test."""

from __future__ import annotations

import pytest

from storm.rows import run_row
from storm.table import ROWS

_SLOW = frozenset((4, 5, 12, 23, 24, 28, 30, 36, 39, 46, 47, 49, 51, 53, 58, 59))
"""Rows whose short form takes more than some 15 seconds: `tox -e slow` runs them."""


def rows(*numbers: int) -> pytest.MarkDecorator:
    """Return the mark of a test that is run for each of these rows."""
    marks = {number: [pytest.mark.slow] if number in _SLOW else [] for number in numbers}
    given = [pytest.param(number, marks=marks[number]) for number in numbers]
    return pytest.mark.parametrize("row", given)


def holds(number: int) -> None:
    """Run the short form of a row; it holds, or it cannot run here.

    What is slower than the table says fails only if it is slower by a factor of ten, or more while
    the machine is busy.
    """
    assert number in ROWS
    outcome = run_row(number, quick=True)
    print(f"{outcome.fault}: {outcome.measured}")
    if outcome.held == "skipped":
        pytest.skip("; ".join(outcome.reasons))
    assert outcome.held == "yes", "\n".join(outcome.reasons)
