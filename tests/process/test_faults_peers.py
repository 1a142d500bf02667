"""Faults of clients, the short form: resets, nonsense, and much at once."""

from __future__ import annotations

import pytest

from storm.quick import holds

pytestmark = pytest.mark.process


@pytest.mark.parametrize("row", [13, 18, 32, 50, 51])
def test_row(row: int) -> None:
    holds(row)
