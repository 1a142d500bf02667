"""Hosts out of an interpreter that has imported the host already (`starter.py`)."""

from __future__ import annotations

import json
import math
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from io import FileIO
from pathlib import Path
from signal import Signals
from tempfile import TemporaryFile
from typing import Any, Protocol

STARTER = Path(__file__).parent / "starter.py"
MOST_BYTES = 100
_READ_EARLY = (
    *("PYTHON", "LD_", "MALLOC_", "GLIBC_", "LC_", "LANG", "TZ"),
    *("COVERAGE_", "PYDANTIC_"),
)
"""How the names of variables begin that an interpreter, or a module of others, reads but once."""


class HasFileno(Protocol):
    """A file."""

    def fileno(self) -> int: ...


class Warm:
    """That interpreter, which begins when it is first needed.

    Args:
        environment: the environment of its hosts.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._fixed = _fixed(environment)
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", str(STARTER)],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                env=environment,
                # As hosts of their own are started: posix_spawn(3), which 3.13 takes else, has the
                # signals 32 and 33 ignored.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Tell whether a host with this environment can come from there."""
        return _fixed(environment) == self._fixed

    def start(self, flags: list[str], *, cwd: Path, env: Mapping[str, str], alarm: int) -> Forked:
        """Start a host that SIGALRM ends after so many seconds."""
        ours, theirs = os.pipe()
        with FileIO(theirs, "w") as output:
            pid = self._fork(flags, (output, output), cwd=str(cwd), env=dict(env), alarm=alarm)
        return Forked(self, pid, ours)

    def run(
        self, flags: Iterable[str], *, cwd: Path, env: Mapping[str, str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run one that ends by itself within so many seconds, and its processes with it."""
        given = {"cwd": str(cwd), "env": dict(env), "alarm": math.ceil(seconds)}
        with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            one = Forked(self, self._fork([*flags], (out, err), **given))
            code = one.wait()
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(one.pid, code, out.read(), err.read())

    def _fork(self, flags: list[str], output: tuple[HasFileno, HasFileno], **given: Any) -> int:
        return self.ask({"flags": flags, **given}, [each.fileno() for each in output])

    def ask(self, request: Mapping[str, Any], descriptors: Iterable[int] = ()) -> int:
        """Return the answer to a request."""
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [*descriptors])
            answer = self._socket.recv(MOST_BYTES)
        assert answer, "the interpreter that hosts come from has ended"
        return int(json.loads(answer))

    def close(self) -> None:
        """End it, and its hosts with it."""
        self._socket.close()
        self._process.wait()


class Forked:
    """A host from there, with that of `subprocess.Popen` which `RunningHost` needs.

    As with that, a host that has ended is a zombie until `poll` or `wait` has told so.
    """

    def __init__(self, warm: Warm, pid: int, output: int | None = None) -> None:
        self.pid = pid
        self.stdout = None if output is None else FileIO(output)
        self.returncode: int | None = None
        self._warm = warm
        self._pidfd = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return the exit code, as Popen has it, if it has ended."""
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not within so many seconds.
        """
        code = self._ended(timeout)
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("a host", timeout)
        return code

    def send_signal(self, number: Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _ended(self, seconds: float | None) -> int | None:
        if self.returncode is None and select.select([self._pidfd], [], [], seconds)[0]:
            os.close(self._pidfd)
            status = self._warm.ask({"reap": self.pid})
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _fixed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return that part of an environment which an interpreter that runs does not read again."""
    return {name: text for name, text in environment.items() if name.startswith(_READ_EARLY)}
