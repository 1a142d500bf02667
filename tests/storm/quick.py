"""The short form of a row as a test."""

from __future__ import annotations

import pytest

from storm.rows import run_row
from storm.table import ROWS


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
