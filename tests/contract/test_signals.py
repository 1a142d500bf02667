"""What the table of signals says, the page about operations says, and a worker does."""

import re
from pathlib import Path

import pytest

from host.runtime.signal_table import BLOCKED, IGNORED_BY_WORKERS, SIGNALS
from host.supervisor import signal_handlers as supervisor
from host.worker.process import signal_handlers

PAGE = Path(__file__).parents[2] / "docs/operations.md"


def rows_of_page():
    """Return the cells of each row of the page's table of signals, links replaced by their text."""
    section = PAGE.read_text().partition("## Signals\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (SIG.*) \|$", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", section), re.M)
    return [tuple(row.split(" | ")) for row in rows]


def test_the_page_has_a_row_for_each_signal_and_no_other():
    expected = [(number.name, each.supervisor, each.worker) for number, each in SIGNALS.items()]
    assert rows_of_page() == expected


def test_a_worker_has_a_handler_for_each_signal_that_does_something_in_it():
    handlers = signal_handlers(lambda: None)
    at_work = {number for number, each in SIGNALS.items() if not each.worker.startswith("nothing")}
    assert handlers.keys() == at_work | {*IGNORED_BY_WORKERS}


def test_a_signal_that_is_never_delivered_needs_no_handler_in_workers():
    assert BLOCKED
    assert not BLOCKED & {*IGNORED_BY_WORKERS}


def test_the_supervisor_has_a_handler_for_each_signal():
    names = ("on_stop", "stop_now", "reload", "scale_by", "reopen_log", "reap")
    nothing = dict.fromkeys(names, lambda *_: None)
    assert supervisor.signal_handlers(**nothing).keys() == SIGNALS.keys()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_workers_ignore_says_so(number):
    meaning = SIGNALS[number]
    assert meaning.supervisor
    assert meaning.worker.startswith("nothing") or not meaning.ignored_by_workers
