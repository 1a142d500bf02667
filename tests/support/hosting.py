"""Hosts and clients in processes of their own, and what is needed to wait for what they do."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host.testing import RunningHost
from host.testing.machine import Stopwatch, patience
from support.board import Board
from support.processes import Status, children, descendants, of_session, remaining, status
from support.warm import Forked, Warm

SUPPORT = Path(__file__).parent
WHOAMI = str(SUPPORT / "whoami.py")
CROWDED = str(SUPPORT / "crowded.py")
FAULTY = str(SUPPORT / "faulty.py")
NONSENSE = str(SUPPORT / "nonsense.py")
BULK = str(SUPPORT / "bulk.py")
BLOCKING = str(SUPPORT / "blocking.py")
CHANGING_USER = str(SUPPORT / "changing_user.py")
LEAVING = str(SUPPORT / "leaving.py")
CENSUS = str(SUPPORT / "census.py")
PRINTING = str(SUPPORT / "printing.py")
TALKATIVE = str(SUPPORT / "talkative.py")
SLOW = str(SUPPORT / "slow.py")
BLIND = str(SUPPORT / "blind.py")

DEADLINE_SECONDS = 10.0
"""How long anything may take that takes milliseconds on a machine with nothing else to do."""
LOOK_SECONDS = 0.002
"""How long others have the CPU between two looks at what sends no event."""
ALARM_SECONDS = 90
"""When SIGALRM ends a host whose test does not, on an idle machine."""
ORPHAN_SECONDS = 1.0
"""How long the processes of a host that was killed may be there after it (docs/reliability.md)."""


def eventually(condition: Callable[[], bool], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    """Wait for what sends no event, such as a counter of the scoreboard, by looking at it."""
    watch = Stopwatch()
    while not condition():
        assert not watch.has_passed(seconds), f"not within {watch.seconds:.1f} s: {what}"
        time.sleep(LOOK_SECONDS)


def command(
    flags: Iterable[str],
    *,
    python: str = sys.executable,
    program: tuple[str, ...] = ("-m", "host"),
    uid: int | None = None,
    nofile: tuple[int, int] | None = None,
    unprivileged: bool = False,
    streams: Mapping[int, str] | None = None,
    blocked: Iterable[int] = (),
    ignored: Iterable[int] = (),
    passed: str | None = None,
) -> list[str]:
    """Return the command line that runs a host which cannot outlive the test."""
    options: dict[str, Any] = {"alarm": round(patience(ALARM_SECONDS))}
    options |= {"unprivileged": unprivileged, "streams": dict(streams or {})}
    options |= {"blocked": [*blocked], "ignored": [*ignored], "passed": passed}
    if nofile is not None:
        options["nofile"] = nofile
    if uid is not None:
        options["uid"] = uid
    launcher = [sys.executable, "-I", "-S", str(SUPPORT / "launcher.py"), json.dumps(options)]
    return [*launcher, python, "-W", "error", *program, *flags]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without settings of a host."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("PREFORK_")}
    return ours | dict(more or {})


class Host(RunningHost):
    """A running host as `host.testing` has it, which must end well, and can be treated badly.

    Args:
        flags: the command line.
        cwd: the working directory.
        slots: how many workers it has.
        env: environment variables besides those of this process.
        python: the interpreter.
        program: how the interpreter runs it.
        uid: the user that starts it, if it is not that of the test.
        nofile: soft and hard limit of descriptors.
        unprivileged: whether it may not raise hard limits, even as root.
        streams: what becomes of standard streams, as `launcher.py` has it.
        blocked: signals that are blocked when it is started.
        ignored: signals that are ignored then.
        passed: where sockets come from that it is passed, as `launcher.py` has it.
        deaf_after: an event after which nobody reads the log until `listen` is called.
        warm: what it comes from if nothing is asked for that needs an interpreter of its own.
    """

    def __init__(
        self,
        flags: Iterable[str],
        *,
        cwd: Path,
        slots: int,
        env: Mapping[str, str] | None = None,
        deaf_after: str | None = None,
        warm: Warm | None = None,
        **launch: Any,
    ) -> None:
        self.slots = slots
        self._warm = warm
        self._flags, self._launch_options = list(flags), launch
        self._deaf_after = deaf_after
        self._board: Board | None = None
        super().__init__(self._flags, cwd=cwd, env=env)

    def _spawn(
        self, command: list[str], cwd: Path, env: Mapping[str, str]
    ) -> subprocess.Popen[bytes] | Forked:
        if self._warm is None or self._launch_options or not self._warm.fits(env):
            return super()._spawn(command, cwd, env)
        alarm = round(patience(ALARM_SECONDS))
        return self._warm.start(self._flags, cwd=cwd, env=env, alarm=alarm)

    def _launch(self, _command: list[str]) -> list[str]:
        return command(self._flags, **self._launch_options)

    # What it says

    def listen(self) -> None:
        """Read the log again, after `deaf_after`."""
        self.join(DEADLINE_SECONDS)
        self.start_reading(self._process.stdout.fileno())

    def _add_line(self, line: str) -> bool:
        go_on = super()._add_line(line)
        if self._deaf_after is None or not self.events(self._deaf_after):
            return go_on
        self._deaf_after = None
        return False

    def hang_up(self) -> None:
        """Close our end of its log; only for a host that is deaf by now."""
        self.join(DEADLINE_SECONDS)
        assert self._process.stdout is not None
        self._process.stdout.close()

    # What it is

    @property
    def board(self) -> Board:
        """The scoreboard, as long as the host runs."""
        if self._board is None:
            self._board = Board(self.pid, self.slots, len(self.addresses))
        return self._board

    # What is done to it

    def interrupt_again(self) -> None:
        """Interrupt a host that was interrupted, until that does not count as the same Ctrl-C."""

        def hurries() -> bool:
            self.signal(signal.SIGINT)
            return bool(self.events("host_stopping_now"))

        eventually(hurries, "the host stops now")

    def wait(self, seconds: float = DEADLINE_SECONDS) -> int:
        """Wait for the host's end, and for all that it has said; return the exit code."""
        code = super().wait(seconds)
        assert self.join(0), f"its output is still held open\n{self.said()}"
        return code

    def clean_up(self, seconds: float = DEADLINE_SECONDS) -> None:
        """End what is left of the host.

        Raises:
            AssertionError: with all that is wrong with how it has ended.
        """
        problems = self._end(seconds)
        if self._board is not None:
            self._board.close()
        if self.other_output:
            problems.append("it has written lines that are no events")
        problems += [f"a bug: {event}" for event in self.events("host_bug")]
        assert not problems, "\n".join([*problems, self.said()])

    def _end(self, seconds: float) -> list[str]:
        problems = []
        for one in of_session(self.pid):
            thaw(one.pid)
        apart = {one.pid for one in descendants(self.pid)}  # some have sessions of their own
        if self._process.poll() is None:
            with suppress(AssertionError):
                code = self.stop(seconds)
                if code != 0:
                    problems.append(f"exit code {code} when stopped at the end of the test")
            if self._process.poll() is None:
                problems.append("it could not be stopped at the end of the test")

        def left_over() -> list[Status]:
            return [one for one in remaining() if one.session == self.pid or one.pid in apart]

        if self._has_died():
            # It has waited for nobody. The kernel kills its workers with it (prctl(2),
            # PR_SET_PDEATHSIG), but each is there until it has had the CPU once more.
            with suppress(AssertionError):
                eventually(lambda: not left_over(), "its processes end with it", ORPHAN_SECONDS)
        for left in left_over():
            if left.pid != self.pid:
                problems.append(f"left over: {left}")
            with suppress(ProcessLookupError):
                os.kill(left.pid, signal.SIGKILL)
        super().clean_up(seconds)
        return problems

    def _has_died(self) -> bool:
        """Tell whether a signal, or a plugin that ends its process at once, has ended it."""
        code = self._process.poll()
        return code is not None and (code < 0 or bool(self.events("plugin_ends_host")))


Start = Callable[..., Host]
"""The fixture `start`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a host that did not start has ended."""

    code: int
    message: str


Refuse = Callable[..., Refusal]
"""The fixture `refuse`."""


def reload(host: RunningHost) -> None:
    """Reload, and wait until the new generation has taken over."""
    mark = host.mark()
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready", since=mark)


def helper_of(host: RunningHost, workers: Iterable[int] | None = None) -> int:
    """Return the pid of the process that shows how the host is, when there is one alone.

    Args:
        host: the host.
        workers: the pids of all its workers, also of those that end; by default what it has told.
    """
    if workers is None:
        workers = [each["pid"] for each in host.events("worker_ready")]

    def found() -> set[int]:
        return {one.pid for one in children(host.pid)}.difference(workers)

    eventually(lambda: len(found()) == 1, "there is one, since that before a reload has ended")
    return found().pop()


def freeze(pid: int) -> None:
    """Stop a process, and return when it has stopped (kill(2) only asks for it)."""
    os.kill(pid, signal.SIGSTOP)

    def stopped() -> bool:
        found = status(pid)
        return found is not None and found.state == "T"

    eventually(stopped, f"process {pid} stops")


def thaw(pid: int) -> None:
    """Continue a process; harmless if it has ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


class Load:
    """The clients (`load.py`), in a process of their own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(SUPPORT / "load.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
        )

    def begin(self, do: str, **arguments: Any) -> None:
        """Give a command; `answer` has its result.

        A `patience` among the arguments is that of an idle machine.
        """
        assert self._process.stdin is not None
        if "patience" in arguments:
            arguments["patience"] = patience(arguments["patience"])
        line = json.dumps({"do": do, **arguments}) + "\n"
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()

    def answer(self, seconds: float = 60.0) -> Any:
        """Wait for the next answer."""
        stdout = self._process.stdout
        assert stdout is not None
        # One answer at a time: nothing is left in the buffer when this is called.
        assert select.select([stdout], [], [], patience(seconds))[0], "the clients do not answer"
        line = stdout.readline()
        assert line, "the clients have ended"
        return json.loads(line)

    def _do(self, do: str, **arguments: Any) -> Any:
        self.begin(do, **arguments)
        return self.answer()

    def open(self, address: str, count: int, group: str = "") -> None:
        """Call connect() for `count` connections at once."""
        self._do("opened", group=group, address=address, count=count)

    def exchange(self, group: str = "", patience: float = 10.0, leave: bool = False) -> Any:
        """Exchange a line on every connection; see `load.exchange`."""
        return self._do("exchange", group=group, patience=patience, leave=leave)

    def burst(self, address: str, count: int, group: str = "", patience: float = 10.0) -> Any:
        """Open connections at once and exchange a line on each; they stay open."""
        return self._do("burst", group=group, address=address, count=count, patience=patience)

    def close(self, group: str = "", count: int | None = None, reset: bool = False) -> None:
        """Close connections."""
        self._do("close", group=group, count=count, reset=reset)

    def half_close(self, address: str, rounds: int, size: int) -> Any:
        """See `load.half_close`."""
        return self._do("half_close", address=address, rounds=rounds, size=size)

    def end(self) -> None:
        """End the clients."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def spread(answers: Iterable[list[int]], slots: int) -> tuple[list[int], int]:
    """Return how many of the answers came from each slot, and the largest difference."""
    counts = [0] * slots
    for slot, *_ in answers:
        counts[slot] += 1
    return counts, max(counts) - min(counts)
