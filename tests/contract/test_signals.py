"""The page about operations says of each signal what the table of signals says."""

import re
from pathlib import Path

import pytest

from host.runtime.signal_table import SIGNALS

PAGE = Path(__file__).parents[2] / "docs/operations.md"


def rows_of_page():
    """Return the cells of each row of the page's table of signals, links replaced by their text."""
    section = PAGE.read_text().partition("## Signals\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (SIG.*) \|$", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", section), re.M)
    return [tuple(row.split(" | ")) for row in rows]


def test_the_page_has_a_row_for_each_signal_and_no_other():
    expected = [(number.name, each.supervisor, each.worker) for number, each in SIGNALS.items()]
    assert rows_of_page() == expected


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_workers_ignore_says_so(number):
    meaning = SIGNALS[number]
    assert meaning.supervisor
    assert meaning.worker.startswith("nothing") or not meaning.ignored_by_workers
