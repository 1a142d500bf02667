"""The page on the bus: each test that it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests" / "process"


def test_each_promise_has_the_test_that_the_page_names():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "bus.md").read_text()))
    there = {
        name
        for path in TESTS.glob("test_bus_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 25
    assert named <= there
