"""Faults of pools, the short form: whatever happens to processes, each task has one answer."""

from __future__ import annotations

import pytest

from storm.quick import holds, rows

pytestmark = pytest.mark.process


@rows(47, 48, 57)
def test_row(row: int) -> None:
    holds(row)
