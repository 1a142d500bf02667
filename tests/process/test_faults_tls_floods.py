"""Floods of TLS handshakes and of new keys, the short form."""

from __future__ import annotations

import pytest

from storm.quick import holds, rows

pytestmark = pytest.mark.process


@rows(55, 56)
def test_row(row: int) -> None:
    holds(row)
