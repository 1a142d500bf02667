"""Signals at any moment of a start, and job control, the short form."""

from __future__ import annotations

import pytest

from storm.quick import holds, rows

pytestmark = pytest.mark.process


@rows(39)
def test_row(row: int) -> None:
    holds(row)
