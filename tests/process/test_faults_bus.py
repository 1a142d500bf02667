"""Several hosts and their broker in all kinds of trouble at once, the short form."""

from __future__ import annotations

import pytest

from storm.quick import holds, rows

pytestmark = pytest.mark.process


@rows(60)
def test_row(row: int) -> None:
    holds(row)
