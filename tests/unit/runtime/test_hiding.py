"""A process that has keys hides its memory."""

import os
import subprocess
import sys

import pytest

from host.runtime import processes
from host.runtime.libc import libc
from host.runtime.rehearsal import KEPT
from host.testing.machine import patience

_PR_GET_DUMPABLE = 3


def hide_and_look():
    """Return what went wrong, as an exit code."""
    processes.hide_memory()
    if libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        return 1
    in_fork = processes.wait(processes.fork(lambda: libc.prctl(3, 0, 0, 0, 0)), patience(10))
    if in_fork is None or in_fork.code != 0:
        return 2
    processes.hide_memory(False)
    return 0 if libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 1 else 3


def test_it_and_its_forks_are_not_dumpable_until_it_says_so():
    ended = processes.wait(processes.fork(hide_and_look), patience(20))
    assert ended is not None
    assert ended.code == 0


@pytest.mark.parametrize(("given", "dumpable"), [({}, "1"), ({KEPT: "9"}, "0")])
def test_one_that_was_handed_keys_is_hidden_before_anything_is_imported(given, dumpable):
    program = f"""
import runpy, sys
from host.runtime import streams
from host.runtime.libc import libc
def begin():
    print(libc.prctl({_PR_GET_DUMPABLE}, 0, 0, 0, 0))
    print("host.cli.main" in sys.modules)
    raise SystemExit
streams.begin = begin
runpy.run_module("host", run_name="__main__")
"""
    said = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        check=True,
        timeout=patience(30),
    )
    assert said.stdout.split() == [dumpable, "False"]
