"""Runs CPython's own tests of event loops with the host's, and with a plain loop beside it.

`python -m judges.event_loop FOLDER` (in `tests`) prints every test that ends differently, and ends
with 1 if there is one. What both have said is in the folder. The tests come with the interpreter
(`test.test_asyncio`); Debian has them in the package `libpython3.X-testsuite`.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

from host.asyncio import HostEventLoop
from host.runtime.loop import Loop

MODULES = (
    "buffered_proto",
    "context",
    "eager_task_factory",
    "events",
    "futures",
    "locks",
    "queues",
    "runners",
    "sendfile",
    "server",
    "sock_lowlevel",
    "ssl",
    "sslproto",
    "streams",
    "subprocess",
    "taskgroups",
    "tasks",
    "threads",
    "timeouts",
    "transports",
    "waitfor",
)
SECONDS = 900


class LoopUnderTest(HostEventLoop):
    """The host's event loop, made as tests make a plain one."""

    made = 0

    def __init__(self, _selector: object = None) -> None:
        type(self).made += 1
        self._own = Loop()
        super().__init__(self._own)

    def close(self) -> None:
        """Close the host's loop, too."""
        closed = self.is_closed()
        super().close()
        if not closed:
            self._own.close()


class Outcomes(unittest.TextTestResult):
    """Notes how each test has ended."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.found: dict[str, str] = {}

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.found.setdefault(test.id(), "passed")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        self.found[test.id()] = "failed"

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        self.found[test.id()] = "failed"

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self.found[test.id()] = "skipped"


def run(kind: str, modules: list[str], output: Path) -> None:
    """Run the tests in this process, with one kind of loop; write how each has ended."""
    if kind == "host":
        asyncio.SelectorEventLoop = asyncio.unix_events.SelectorEventLoop = LoopUnderTest
        asyncio.DefaultEventLoopPolicy._loop_factory = LoopUnderTest
        if hasattr(asyncio, "EventLoop"):
            asyncio.EventLoop = LoopUnderTest
    suite = unittest.TestSuite()
    for module in modules:
        suite.addTests(unittest.defaultTestLoader.loadTestsFromName(f"test.test_asyncio.{module}"))
    result = unittest.TextTestRunner(resultclass=Outcomes, verbosity=1).run(suite)
    assert kind != "host" or LoopUnderTest.made > len(modules), "another loop was tested"
    output.write_text(json.dumps(result.found))


def outcomes(kind: str, modules: list[str], folder: Path) -> dict[str, str]:
    """Run the tests in a process of their own; return how each has ended."""
    output = folder / f"{kind}.json"
    with (folder / f"{kind}.txt").open("w") as said:
        subprocess.run(
            [sys.executable, "-m", "judges.event_loop", kind, str(output), *modules],
            timeout=SECONDS,
            check=False,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    found: dict[str, str] = json.loads(output.read_text())
    return found


def main(folder: Path, chosen: list[str]) -> int:
    """Compare both loops; return the exit code."""
    names = [f"test_{name}" for name in chosen or MODULES]
    there = [name for name in names if importlib.util.find_spec(f"test.test_asyncio.{name}")]
    folder.mkdir(parents=True, exist_ok=True)
    plain, ours = (outcomes(kind, there, folder) for kind in ("plain", "host"))
    different = {
        name: (plain.get(name), ours.get(name))
        for name in sorted(plain.keys() | ours.keys())
        if plain.get(name) != ours.get(name)
    }
    for name, (before, now) in different.items():
        print(f"{name}: {before} with a plain loop, {now} with the host's")
    passed = sum(each == "passed" for each in ours.values())
    print(f"{sys.version.split()[0]}: {passed} of {len(ours)} passed, {len(different)} differ")
    return 1 if different or not ours else 0


if __name__ == "__main__":
    if sys.argv[1] in ("plain", "host"):
        run(sys.argv[1], sys.argv[3:], Path(sys.argv[2]))
    else:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
