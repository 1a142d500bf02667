"""Standard streams that are of no use, and plugins that take them away, the short form."""

from __future__ import annotations

import pytest

from storm.quick import holds, rows

pytestmark = pytest.mark.process


@rows(38, 41)
def test_row(row: int) -> None:
    holds(row)
