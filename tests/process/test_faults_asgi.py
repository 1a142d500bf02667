"""Apps of ASGI, the short forms."""

from __future__ import annotations

import pytest

from storm.quick import holds, rows

pytestmark = pytest.mark.process


@rows(58, 59)
def test_row(row: int) -> None:
    holds(row)
