"""A host out of an interpreter that has imported it is like one that has its own."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from host.testing.machine import patience
from support.hosting import SUPPORT, Start, environment, reload
from support.processes import status
from support.warm import Warm

pytestmark = pytest.mark.process

PORTRAIT = str(SUPPORT / "portrait.py")
SEEN = ("--name", "portrayed")
VARIABLES = {"PORTRAYED": "\udcff"}


def portraits(folder: Path) -> dict[str, Any]:
    """Return what the processes have written last; what has no meaning is left out."""
    return {each.name: json.loads(each.read_text()) for each in folder.glob("*.json")}


@pytest.mark.parametrize("again", [False, True], ids=["started", "reloaded"])
def test_all_that_a_plugin_can_see_is_the_same(
    start: Start, an_interpreter: Warm, tmp_path: Path, again: bool
) -> None:
    seen = []
    for warm in (None, an_interpreter):
        host = start(*SEEN, plugin=PORTRAIT, workers=1, warm=warm, env=VARIABLES)
        comes_from = status(host.pid)
        assert comes_from is not None
        assert (comes_from.parent == an_interpreter.pid) == (warm is not None)
        if again:
            reload(host)
        assert host.stop() == 0
        seen.append(portraits(tmp_path))
    cold, warm_one = seen
    assert sorted(cold) == ["supervisor.json", "worker.json"]
    for name, found in cold.items():
        others = {what: [warm_one[name][what], value] for what, value in found.items()}
        assert not {what: pair for what, pair in others.items() if pair[0] != pair[1]}


def test_it_has_ended_as_it_has_and_is_gone_then(start: Start, an_interpreter: Warm) -> None:
    host = start(warm=an_interpreter)
    host.signal(signal.SIGKILL)
    assert host.wait() == -signal.SIGKILL
    assert status(host.pid) is None


def test_other_variables_and_other_launches_have_an_interpreter_of_their_own(
    start: Start, an_interpreter: Warm
) -> None:
    for given in ({"env": {"PYTHONHASHSEED": "1"}}, {"streams": {0: "closed"}}):
        host = start(warm=an_interpreter, **given)
        comes_from = status(host.pid)
        assert comes_from is not None
        assert comes_from.parent != an_interpreter.pid


def test_what_ends_by_itself_says_so(an_interpreter: Warm, tmp_path: Path) -> None:
    flags = ("check", "--plugin", "ehco")
    done = an_interpreter.run(flags, cwd=tmp_path, env=environment(), seconds=patience(30))
    assert done.returncode == 4
    assert '"echo"' in done.stderr
    assert done.stdout == ""
