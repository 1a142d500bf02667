"""Faults of the machine, the short form: failing system calls, full disks, jumping clocks."""

from __future__ import annotations

import pytest

from storm.quick import holds, rows

pytestmark = pytest.mark.process


@rows(11, 12, 26, 27)
def test_row(row: int) -> None:
    holds(row)
