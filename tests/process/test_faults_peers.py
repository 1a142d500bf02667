"""Faults of clients, the short form: resets, nonsense, and much at once."""

from __future__ import annotations

import pytest

from storm.quick import holds, rows

pytestmark = pytest.mark.process


@rows(13, 18, 32, 50, 51)
def test_row(row: int) -> None:
    holds(row)
