"""A plugin that misbehaves in every hook and in every way, the short form."""

from __future__ import annotations

import pytest

from storm.quick import holds, rows

pytestmark = pytest.mark.process


@rows(28)
def test_row(row: int) -> None:
    holds(row)
