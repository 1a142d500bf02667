"""A real host for tests: a fresh interpreter, free ports, and an end in any case."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from types import TracebackType
from typing import Self

from host.testing.entry import PLAIN, Entry
from host.testing.event_log import PATIENCE_SECONDS, EventLog
from host.testing.machine import Stopwatch, patience
from host.testing.proxy_header import CLIENT

_LAUNCHER = """
import ctypes, os, signal, sys
parent = int(sys.argv[1])
signal.signal(signal.SIGHUP, signal.SIG_DFL)
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != parent:
    sys.exit("the test has gone")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""PR_SET_PDEATHSIG (prctl(2)), which exec keeps: the host does not outlive the test's process. It
reloads on SIGHUP, though nohup(1) has the tests themselves ignore that."""


def place_of(address: str) -> tuple[str, int] | str:
    """Return what connect() takes of an address such as `tcp://127.0.0.1:7000`, `unix:@name`."""
    kind, _, place = address.partition(":")
    if kind == "unix":
        return "\0" + place[1:] if place.startswith("@") else place
    name, _, port = place.removeprefix("//").rpartition(":")
    return name.strip("[]"), int(port)


class RunningHost(EventLog):
    """A host that runs, with its JSON log; a context manager that ends it.

    Args:
        flags: the command line, without `python -m host`.
        cwd: the working directory.
        env: environment variables besides those of this process; of these, settings of a host
            (`PREFORK_…`) are left out.
        python: options of the interpreter, such as `-W error`.
        entry: how clients come in, which the flags must fit; `host_server` makes both.

    Attributes:
        pid: the supervisor's process id.
        other_output: the lines it has written that are no events.
    """

    def __init__(
        self,
        flags: Iterable[str],
        *,
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        python: Iterable[str] = (),
        entry: Entry = PLAIN,
    ) -> None:
        command = [sys.executable, *python, "-m", "host", *flags]
        super().__init__(" ".join(command))
        self._entry = entry
        ours = {key: value for key, value in os.environ.items() if not key.startswith("PREFORK_")}
        self._process = self._spawn(command, cwd, ours | dict(env or {}))
        self.pid = self._process.pid
        assert self._process.stdout is not None
        self.start_reading(self._process.stdout.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.clean_up()

    @property
    def addresses(self) -> list[str]:
        """The addresses it listens on, as `tcp://127.0.0.1:40123`, in the order of the settings."""
        return [event["address"] for event in self.events("listening")]

    @property
    def address(self) -> str:
        """The address of its only listener."""
        (address,) = self.addresses
        return address

    @property
    def port(self) -> int:
        """The port of its only listener."""
        return int(self.address.rpartition(":")[2])

    @property
    def workers(self) -> dict[int, int]:
        """The process id of the latest worker in each slot that was ready."""
        return {event["slot"]: event["pid"] for event in self.events("worker_ready")}

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What clients use for TLS, which trusts the host's certificate alone; None without TLS."""
        return self._entry.context

    def connect(
        self,
        address: str | None = None,
        *,
        timeout: float = PATIENCE_SECONDS,
        client: tuple[str, int] = CLIENT,
    ) -> socket.socket:
        """Return a connected socket; the caller closes it.

        With TLS it is an `ssl.SSLSocket` whose handshake is done: `unwrap()` tells the host of its
        end, and one that is closed without it counts as cut.

        Args:
            address: one of `addresses`; by default that of the only listener.
            timeout: how many seconds a call on the socket may take on an idle machine.
            client: the IP address and the port that the proxy names, where there is one.

        Raises:
            OSError: there is nobody, or the handshake of TLS fails (`ssl.SSLError`).
        """
        return self._entry.begin(self._connected(address or self.address, timeout), client)

    def _connected(self, address: str, timeout: float) -> socket.socket:
        """Return a connected socket without anything that the host wants first."""
        place = place_of(address)
        if isinstance(place, tuple):
            return socket.create_connection(place, patience(timeout))
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(patience(timeout))
        sock.connect(place)
        return sock

    def signal(self, number: Signals) -> None:
        """Send the supervisor a signal."""
        self._process.send_signal(number)

    def kill_worker(self, slot: int, number: Signals = SIGKILL) -> int:
        """Send the worker in a slot a signal; return its process id."""
        pid = self.workers[slot]
        os.kill(pid, number)
        return pid

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait until the host has ended; return the exit code.

        Args:
            seconds: how long it may take on an idle machine.

        Raises:
            AssertionError: it has not in time; with all that it has said.
        """
        watch, code = Stopwatch(), self._process.poll()
        while code is None:
            if watch.has_passed(seconds):
                how = f"still running after {watch.seconds:.1f} s"
                raise AssertionError(f"{how}\n{self.said()}")
            with suppress(subprocess.TimeoutExpired):
                code = self._process.wait(watch.left(seconds))
        self.join(seconds)
        return code

    def stop(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Ask the host to end (SIGTERM) and wait until it has; return the exit code."""
        self.signal(SIGTERM)
        return self.wait(seconds)

    def clean_up(self, seconds: float = PATIENCE_SECONDS) -> None:
        """End the host, if need be by force after `seconds`; nothing of it is left."""
        try:
            if self._process.poll() is None:
                with suppress(AssertionError):
                    self.stop(seconds)
        finally:
            # A process group outlives its leader as long as it has a member.
            with suppress(ProcessLookupError):
                os.killpg(self.pid, SIGKILL)
            self._process.wait()
            if self.join(PATIENCE_SECONDS) and self._process.stdout is not None:
                self._process.stdout.close()

    def _spawn(
        self, command: list[str], cwd: Path | str | None, env: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start it, with a pipe for all that it says."""
        return subprocess.Popen(
            self._launch(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env,
            start_new_session=True,
        )

    def _launch(self, command: list[str]) -> list[str]:
        """Return what is started, so that the host does not outlive this process."""
        return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]
