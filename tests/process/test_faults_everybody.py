"""The test run beside other test runs, the short form: nobody's tests depend on an idle machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from host.testing.machine import patience
from storm.quick import holds
from support.hosting import DEADLINE_SECONDS, eventually
from support.processes import Watch

pytestmark = [pytest.mark.process, pytest.mark.timing]

KILLED = """
import os, sys, time
from pathlib import Path
from everybody import ROOT, Place
folder = Path(sys.argv[1])
place = Place(folder, ROOT, Path(sys.executable), os.geteuid())
print(place.start(["sleep", "600"], folder / "output").pid, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_row() -> None:
    holds(44)


def test_what_runs_beside_ends_with_who_has_started_it(tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{KILLED}"
    command = [sys.executable, "-c", code, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        load = Watch(int(starter.stdout.readline()))
        name = Path(f"/proc/{load.pid}/comm")
        eventually(lambda: name.read_text() == "sleep\n", "all programs before it are executed")
        starter.kill()
    assert load.ended(patience(DEADLINE_SECONDS))
    load.close()
