"""Stops under load, also with clients far away, the short form."""

from __future__ import annotations

import pytest

from storm.quick import holds, rows

pytestmark = pytest.mark.process


@rows(20, 21, 34)
def test_row(row: int) -> None:
    holds(row)
