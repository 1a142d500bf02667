"""Faults that other programs and users of the machine bring, the short form."""

from __future__ import annotations

import pytest

from storm.quick import holds, rows

pytestmark = pytest.mark.process


@rows(40)
def test_row(row: int) -> None:
    holds(row)
