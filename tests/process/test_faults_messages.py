"""Control messages that go astray in a model of dispatch, the short form."""

from __future__ import annotations

import pytest

from storm.quick import holds, rows

pytestmark = pytest.mark.process


@rows(29)
def test_row(row: int) -> None:
    holds(row)
