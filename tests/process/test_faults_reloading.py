"""Reloads under load, amid signals, to broken settings, the short form."""

from __future__ import annotations

import pytest

from storm.quick import holds, rows

pytestmark = pytest.mark.process


@rows(22, 23, 24, 30, 42, 36, 37, 46)
def test_row(row: int) -> None:
    holds(row)
