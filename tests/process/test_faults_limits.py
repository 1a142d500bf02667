"""Faults at the limits, the short form: descriptors, memory, slowness, places, commands."""

from __future__ import annotations

import pytest

from storm.quick import holds, rows

pytestmark = pytest.mark.process


@rows(10, 15, 16, 17, 19, 33, 35, 43)
def test_row(row: int) -> None:
    holds(row)
