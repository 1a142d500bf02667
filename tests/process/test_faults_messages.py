"""Control messages that go astray in a model of dispatch, the short form."""

from __future__ import annotations

import pytest

from storm.quick import holds

pytestmark = pytest.mark.process


@pytest.mark.parametrize("row", [29])
def test_row(row: int) -> None:
    holds(row)
