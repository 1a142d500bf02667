"""Faults of workers, the short form: deaths, hangs, poison, crash loops, a stopped supervisor."""

from __future__ import annotations

import pytest

from storm.quick import holds, rows

pytestmark = pytest.mark.process


@rows(3, 4, 5, 6, 7, 9, 31, 45)
def test_row(row: int) -> None:
    holds(row)
