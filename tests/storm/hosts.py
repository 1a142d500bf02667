"""A host in a storm: launched so that it cannot outlive the storm, and looked over at its end."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from host.testing import RunningHost
from host.testing.machine import Stopwatch
from support.board import Board
from support.hosting import SUPPORT, thaw
from support.processes import Status, children, descriptors, of_session

ALARM_SECONDS = 2 * 3600
"""When SIGALRM ends a host, whatever happens to the storm."""
POLITE = str(SUPPORT / "polite.py")
_KINDS = {"tcp4": "tcp://127.0.0.1:0", "tcp6": "tcp://[::1]:0"}


def listen_address(kind: str, folder: Path, name: str) -> str:
    """Return the flag for `tcp4`, `tcp6`, `unix` or a whole address, perhaps with `=PLUGIN`."""
    which, equals, plugin = kind.partition("=")
    address = f"unix:{folder}/{name}.sock" if which == "unix" else _KINDS.get(which, which)
    return f"{address}{equals}{plugin}"


class StormHost(RunningHost):
    """A running host with its scoreboard; `finish` tells what is wrong with how it has ended.

    Args:
        flags: the command line.
        name: the host's name, which is among the flags.
        cwd: the working directory.
        slots: how many workers it has.
        env: environment variables besides those of this process.
        python: the interpreter that runs it.
        wrapper: a command that runs the host's command, as `faketime`.
        log: a file to write the log to; then no events are read.
        options: more for `launcher.py`.

    Attributes:
        codes: exit codes that are right for its end.
        may_leave: whether processes of its session may be left (a plugin's children).
    """

    def __init__(
        self,
        flags: Iterable[str],
        *,
        name: str,
        cwd: Path,
        slots: int,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        wrapper: tuple[str, ...] = (),
        log: Path | None = None,
        **options: Any,
    ) -> None:
        self.name, self.slots = name, slots
        self.codes: set[int] = {0}
        self.may_leave = False
        self._board: Board | None = None
        self._log = log
        self._options = {"alarm": ALARM_SECONDS, **options}
        self._wrapper, self._python = wrapper, python
        self._finished = False
        super().__init__(list(flags), cwd=cwd, env=dict(env or {}))

    def _launch(self, command: list[str]) -> list[str]:
        given = [*self._wrapper, self._python, *command[1:]]
        if self._log is not None:
            given = ["/bin/sh", "-c", 'exec "$@" >>"$0" 2>&1', str(self._log), *given]
        launcher = [sys.executable, "-I", "-S", str(SUPPORT / "launcher.py")]
        return [*launcher, json.dumps(self._options), *given]

    @property
    def addresses(self) -> list[str]:
        """The addresses it listens on; a reload may tell of them again."""
        return list(dict.fromkeys(super().addresses))

    @property
    def board(self) -> Board:
        """The scoreboard, as long as the host runs and is not reloaded."""
        if self._board is None:
            self._board = Board(self.pid, self.slots, len(self.addresses))
        return self._board

    @property
    def alive(self) -> bool:
        """Whether the supervisor runs."""
        return self._process.poll() is None

    def zombies(self) -> list[Status]:
        """Return children of the supervisor that have ended and were not reaped."""
        return [child for child in children(self.pid) if child.state == "Z"]

    def no_zombies(self, seconds: float = 5.0) -> bool:
        """Wait until no zombie is left; tell whether that came about."""
        return soon(lambda: not self.zombies(), seconds)

    def inventory(self) -> dict[str, int]:
        """Return how many descriptors and children there are."""
        found = {"supervisor": len(descriptors(self.pid)), "children": len(children(self.pid))}
        for slot, pid in self.workers.items():
            with suppress(FileNotFoundError, ProcessLookupError):
                found[f"worker {slot}"] = len(descriptors(pid))
        return found

    def finish(self, seconds: float = 20.0) -> list[str]:
        """Stop the host if it runs; return what is wrong with how it has ended."""
        if self._finished:
            return []
        self._finished = True
        problems = []
        for one in of_session(self.pid):
            with suppress(ProcessLookupError):
                thaw(one.pid)
        with suppress(AssertionError):
            code = self.stop(seconds) if self.alive else self.wait(seconds)
            if code not in self.codes:
                problems.append(f"exit code {code} at its end")
        if self.alive:
            problems.append(f"it did not stop within {seconds:g} s")
        soon(lambda: all(one.pid == self.pid for one in of_session(self.pid)), 1.0)
        for left in of_session(self.pid):
            if left.pid != self.pid and not self.may_leave:
                problems.append(f"left over: {left}")
            with suppress(ProcessLookupError):
                os.kill(left.pid, signal.SIGKILL)
        if self._board is not None:
            self._board.close()
        self.clean_up()
        problems += [f"a fault of the host: {bug}" for bug in self.events("host_bug")]
        if self.other_output:
            problems.append(f"lines that are no events: {self.other_output[:3]}")
        return problems


def moment(event: Mapping[str, Any]) -> float:
    """Return when an event was told, in seconds of time.time(), to the millisecond."""
    return datetime.fromisoformat(event["time"]).timestamp()


def soon(condition: Any, seconds: float) -> bool:
    """Look until a condition holds, for so long on an idle machine; tell whether it does."""
    watch = Stopwatch()
    while not condition():
        if watch.has_passed(seconds):
            return False
        time.sleep(0.002)
    return True
