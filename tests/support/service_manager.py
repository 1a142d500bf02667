"""A service manager, as far as a host meets one: it passes sockets, keeps some, and hears of it.

What it does is in sd_listen_fds(3), sd_notify(3) and sd_pid_notify_with_fds(3).
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from host.testing.machine import Stopwatch, patience
from support.hosting import DEADLINE_SECONDS, Host, Start

_BYTES, _DESCRIPTORS = 65_536, 16


class FakeManager:
    """It opens sockets, has hosts started with them, and takes their messages.

    Args:
        folder: where its sockets are.
        abstract: whether the address for messages has no file.
        start: the fixture that starts hosts.

    Attributes:
        messages: the lines of each message so far, in order.
        store: the sockets that hosts have given it to keep, by name.
        environment: what a service is started with, beside sockets.
    """

    def __init__(self, folder: Path, start: Start, *, abstract: bool = False) -> None:
        self._stack, self._start = ExitStack(), start
        self._units: dict[str, socket.socket] = {}
        self.messages: list[list[str]] = []
        self.store: dict[str, socket.socket] = {}
        self._giver = self._keep(socket.socket(socket.AF_UNIX))
        self._where = str(folder / "manager.give")
        self._giver.bind(self._where)
        self._giver.listen()
        self._hears = self._keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self._hears.setblocking(False)
        name = f"prefork-manager-{os.getpid()}-{id(self)}"
        address = f"@{name}" if abstract else str(folder / "manager.notify")
        self._hears.bind(f"\0{name}" if abstract else address)
        self.environment = {"NOTIFY_SOCKET": address}
        self._files = [self._where] if abstract else [self._where, address]

    def _keep(self, sock: socket.socket) -> socket.socket:
        self._stack.callback(sock.close)
        return sock

    def listen(self, name: str, path: Path | None = None) -> str:
        """Listen as a socket unit does, on a free port or on a file; return the address."""
        if path is not None:
            sock = self._keep(socket.socket(socket.AF_UNIX))
            sock.bind(str(path))
            sock.listen()
            self._files.append(str(path))
            address = f"unix:{path}"
        else:
            sock = self._keep(socket.create_server(("127.0.0.1", 0)))
            address = f"tcp://127.0.0.1:{sock.getsockname()[1]}"
        self.add(name, sock)
        return address

    def add(self, name: str, sock: socket.socket) -> None:
        """Pass this socket, too."""
        self._units[name] = sock

    def start(self, *flags: str, ready: bool = True, **others: Any) -> Host:
        """Start a host with all sockets that there are."""
        env = self.environment | others.pop("env", {})
        with self.passing() as passed:
            host = self._start(*flags, ready=False, listen=(), env=env, passed=passed, **others)
        if ready:
            host.wait_for("host_ready")
        return host

    @contextmanager
    def passing(self) -> Iterator[str | None]:
        """Pass all sockets that there are to the process that is started meanwhile.

        It is told where to get them; None if there are none.
        """
        passed = {**self._units, **self.store}
        if not passed:
            yield None
            return
        giving = threading.Thread(target=self._give, args=(passed,))
        giving.start()
        yield self._where
        giving.join()

    def _give(self, passed: dict[str, socket.socket]) -> None:
        asking, _ = self._giver.accept()
        with asking:
            names = ":".join(passed).encode()
            socket.send_fds(asking, [names], [each.fileno() for each in passed.values()])

    def watch(self, seconds: float) -> None:
        """Want to hear of services that are started from now on so often, as WatchdogSec= does."""
        self.environment["WATCHDOG_USEC"] = str(round(seconds * 1e6))

    def overfill(self) -> None:
        """Have so many messages wait that no more are taken until these are heard."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(self._hears.getsockname())
            with suppress(BlockingIOError):
                while True:
                    sender.send(b"X_FILL=1")

    # What it hears

    def hear(self) -> bool:
        """Take the messages that have come; tell whether there were any."""
        before = len(self.messages)
        with suppress(BlockingIOError):
            while True:
                data, received, flags, _ = socket.recv_fds(self._hears, _BYTES, _DESCRIPTORS)
                assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
                lines = data.decode().splitlines()
                self._take(lines, received)
                if lines != ["X_FILL=1"]:
                    self.messages.append(lines)
        return len(self.messages) > before

    def _take(self, lines: list[str], received: list[int]) -> None:
        names = [line.removeprefix("FDNAME=") for line in lines if line.startswith("FDNAME=")]
        if "FDSTORE=1" in lines:
            (name,), (fd,) = names, received
            assert name not in self.store, f"{name} is there already"
            assert name.isascii()
            assert ":" not in name
            self.store[name] = self._keep(socket.socket(fileno=fd))
        elif "FDSTOREREMOVE=1" in lines:
            (name,) = names
            self.store.pop(name).close()
        elif lines == ["BARRIER=1"]:
            (fd,) = received
            os.close(fd)
        else:
            assert not received

    def wait_for(self, what: str | Callable[[list[str]], bool], *, after: int = 0) -> int:
        """Wait for a message with this line; return its number, from which on one can go on."""
        wanted = what if callable(what) else lambda lines: what in lines
        watch = Stopwatch()
        while True:
            self.hear()
            for number, lines in enumerate(self.messages[after:], after):
                if wanted(lines):
                    return number
            assert not watch.has_passed(DEADLINE_SECONDS), f"not heard: {what}; {self.messages}"
            select.select([self._hears], [], [], patience(0.1))

    def heard(self, *starts: str) -> list[str]:
        """Return the lines that begin with one of these, in order."""
        self.hear()
        return [line for lines in self.messages for line in lines if line.startswith(starts)]

    def close(self) -> None:
        """End, and leave nothing behind."""
        for each in self._files:
            os.unlink(each)
        self._stack.close()
