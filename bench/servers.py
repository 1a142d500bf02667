"""Starts servers, each in its own process group, and ends them."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from bench import proc
from bench.contenders import OURS, Contender
from bench.tools import ending_with_us

START_SECONDS = 30.0
END_SECONDS = 10.0
ROOT = Path(__file__).parent.parent

_numbers = itertools.count(1)


class ServerError(Exception):
    """A server has not started or has ended; the text says which, and what it wrote."""


def environment() -> dict[str, str]:
    """Return the environment of servers: ours without settings of a host.

    What was compiled is kept, as it is where a package was installed.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PREFORK_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    path = kept.get("PYTHONPATH")
    return kept | {"PYTHONPATH": f"{ROOT}:{path}" if path else str(ROOT)}


class Server:
    """A running server; a context manager that ends it.

    Attributes:
        pid: its first process.
        port: where it serves, on the loopback.
        name: the name of the host, for commands to it; empty for others.
    """

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.name = f"bench-{os.getpid()}-{next(_numbers)}" if contender.name == OURS else ""
        command = [*contender.command]
        if self.name:
            command += ["--set", f"name={self.name}"]
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._process = subprocess.Popen(
            ending_with_us(command),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            cwd=ROOT,
            env=environment(),
            process_group=0,
        )
        self.pid = self._process.pid
        try:
            self.port = self._wait()
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _written(self) -> str:
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), size, 0).decode(errors="replace")

    def _wait(self) -> int:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            port = self.contender.port_of(self._written())
            if port is not None:
                return port
            if self._process.poll() is not None:
                break
            time.sleep(0.01)
        raise ServerError(f"{self.contender.name} does not serve; it wrote:\n{self._written()}")

    @property
    def running(self) -> bool:
        """Whether its first process has not ended."""
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its processes so far."""
        return proc.cpu_seconds(self.pid)

    def wait_for_sockets(self, count: int, seconds: float = 20.0) -> dict[int, int]:
        """Wait until its processes have `count` sockets; return how many each has.

        Raises:
            ServerError: they do not get to have so many.
        """
        deadline = time.monotonic() + seconds
        while sum((found := proc.sockets(self.pid)).values()) < count:
            if time.monotonic() > deadline:
                raise ServerError(f"{self.contender.name} has accepted too few: {found}")
            time.sleep(0.02)
        return found

    def end(self) -> None:
        """End it: politely, then its whole process group."""
        if self.running:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()
