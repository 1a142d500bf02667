"""A real host for tests: a fresh interpreter, free ports, and waiting for what it says."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from types import TracebackType
from typing import Any, Self

PATIENCE_SECONDS = 20.0
"""How long anything may take that takes milliseconds on a machine with nothing else to do."""

_LAUNCHER = """
import ctypes, os, signal, sys
parent = int(sys.argv[1])
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != parent:
    sys.exit("the test has gone")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""PR_SET_PDEATHSIG (prctl(2)), which exec keeps: the host does not outlive the test's process."""


class RunningHost:
    """A host that runs; a context manager that ends it. Its JSON log is read by a thread.

    Args:
        flags: the command line, without `python -m host`.
        cwd: the working directory.
        env: environment variables besides those of this process; of these, settings of a host
            (`PREFORK_…`) are left out.
        python: options of the interpreter, such as `-W error`.

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
    ) -> None:
        self._command = [sys.executable, *python, "-m", "host", *flags]
        self._rest = b""
        ours = {key: value for key, value in os.environ.items() if not key.startswith("PREFORK_")}
        self._process = subprocess.Popen(
            self._launch(self._command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=ours | dict(env or {}),
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._events: list[dict[str, Any]] = []
        self.other_output: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.clean_up()

    # What it says

    def mark(self) -> int:
        """Return a place in what it tells; with `since` only what comes after it counts."""
        with self._news:
            return len(self._events)

    def events(
        self, name: str | None = None, since: int = 0, **fields: object
    ) -> list[dict[str, Any]]:
        """Return what it has told so far: events of that name (None: any) with those fields."""
        with self._news:
            return [
                event
                for event in self._events[since:]
                if name in (None, event["event"])
                and all(event.get(key) == value for key, value in fields.items())
            ]

    def wait_for(
        self,
        name: str,
        *,
        since: int = 0,
        count: int = 1,
        seconds: float = PATIENCE_SECONDS,
        **fields: object,
    ) -> dict[str, Any]:
        """Wait for the `count`-th event of that name with those fields; return it.

        Raises:
            AssertionError: it has not come in time, or will not; with all that the host has said.
        """
        deadline = time.monotonic() + seconds
        wanted = f"event {name}" + (f" with {fields}" if fields else "")
        while True:
            with self._news:
                found = self.events(name, since, **fields)
                if len(found) >= count:
                    return found[count - 1]
                left = deadline - time.monotonic()
                if self._ended or left <= 0:
                    how = "the host has ended" if self._ended else f"{seconds:g} s have passed"
                    raise AssertionError(
                        f"{how}, and {len(found)} of {count} came: {wanted}\n{self.said()}"
                    )
                self._news.wait(left)

    def said(self) -> str:
        """Return everything that the host has said, with its command line."""
        with self._news:
            return "\n".join(
                [" ".join(self._command), *map(json.dumps, self._events), *self.other_output]
            )

    # What it is

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

    def connect(
        self, address: str | None = None, *, timeout: float = PATIENCE_SECONDS
    ) -> socket.socket:
        """Return a connected socket; the caller closes it.

        Args:
            address: one of `addresses`; by default that of the only listener.
            timeout: the socket's timeout in seconds.
        """
        kind, _, place = (address or self.address).partition(":")
        if kind == "unix":
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(timeout)
            sock.connect("\0" + place[1:] if place.startswith("@") else place)
            return sock
        name, _, port = place.removeprefix("//").rpartition(":")
        return socket.create_connection((name.strip("[]"), int(port)), timeout)

    # What is done to it

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

        Raises:
            AssertionError: it has not in time; with all that it has said.
        """
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds:g} s\n{self.said()}") from None
        self._reader.join(seconds)
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
            self._reader.join(PATIENCE_SECONDS)
            if self._process.stdout is not None and not self._reader.is_alive():
                self._process.stdout.close()

    def _launch(self, command: list[str]) -> list[str]:
        """Return what is started, so that the host does not outlive this process."""
        return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command]

    def _listen(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while data := os.read(fd, 65_536):
            *lines, self._rest = (self._rest + data).split(b"\n")
            with self._news:
                go_on = [self._take(line.decode("utf-8", "replace")) for line in lines]
                self._news.notify_all()
            if not all(go_on):
                return
        with self._news:
            if self._rest:
                self._take(self._rest.decode("utf-8", "replace"))
            self._ended = True
            self._news.notify_all()

    def _take(self, line: str) -> bool:
        """Take a line; tell whether to read on."""
        try:
            event = json.loads(line)
            event["event"]
        except (ValueError, TypeError, KeyError):
            self.other_output.append(line)
        else:
            self._events.append(event)
        return True
