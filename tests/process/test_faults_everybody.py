"""The test run beside other test runs, the short form: nobody's tests depend on an idle machine."""

from __future__ import annotations

import pytest

from storm.quick import holds

pytestmark = [pytest.mark.process, pytest.mark.timing]


def test_row() -> None:
    holds(44)
