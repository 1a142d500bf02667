"""Floods of TLS handshakes and of new keys, the short form."""

from __future__ import annotations

import pytest

from storm.quick import holds

pytestmark = pytest.mark.process


@pytest.mark.parametrize("row", [55, 56])
def test_row(row: int) -> None:
    holds(row)
