"""Faults of clients, the short form: resets and nonsense."""

from __future__ import annotations

import pytest

from storm.quick import holds

pytestmark = pytest.mark.process


@pytest.mark.parametrize("row", [13, 18])
def test_row(row: int) -> None:
    holds(row)
