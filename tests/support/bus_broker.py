"""A redis-server that a test stops, kills, and starts again with nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from support.hosting import eventually, freeze, thaw

PORT = 6379
"""Where it listens if it has a network of its own."""


class Broker:
    """A running broker, on a Unix socket and, within a network of its own, on a port.

    Args:
        folder: where its socket is.
        enter: what runs its command in that network; empty for no port.

    Attributes:
        path: the path of its socket.
        forgotten: when it was started again with nothing, in seconds of time.monotonic().
    """

    def __init__(self, folder: Path, enter: Sequence[str] = ()) -> None:
        self.path = folder / "broker.sock"
        self.forgotten: list[float] = []
        address = ["--port", str(PORT), "--bind", "0.0.0.0"] if enter else ["--port", "0"]
        self._command = [*enter, "redis-server", *address, "--protected-mode", "no"]
        self._command += ["--unixsocket", str(self.path), "--dir", str(folder), "--save", ""]
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        eventually(self._answers, "the broker answers")

    def _answers(self) -> bool:
        assert self._process.poll() is None, "the broker has ended"
        with suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
            sock.connect(os.fspath(self.path))
            sock.sendall(b"PING\r\n")
            return sock.recv(64).startswith(b"+PONG")
        return False

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self.path.unlink(missing_ok=True)

    def start_empty(self) -> None:
        """Start it again: it has forgotten all."""
        self.forgotten.append(time.monotonic())
        self._start()

    def freeze(self) -> None:
        """Have it do nothing until `thaw`."""
        freeze(self.pid)

    def thaw(self) -> None:
        """Have it go on."""
        thaw(self.pid)

    def close(self) -> None:
        """End it, if it runs."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self.kill()
