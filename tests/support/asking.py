"""Asks a running host, over its admin socket."""

from __future__ import annotations

import itertools
import json
import os
import socket
import struct
from contextlib import suppress
from typing import Any

from host.testing.machine import patience

PREFIX = "\0prefork/"
_numbers = itertools.count(1)


class RefusedError(Exception):
    """The host has answered that it was not done, and why."""


def fresh_name() -> str:
    """Return a name that no other host of this machine has."""
    return f"asked-{os.getpid()}-{next(_numbers)}"


class Asker:
    """One client of the host `name`; a context manager.

    Every call gives up after `timeout` seconds of an idle machine.
    """

    def __init__(self, name: str, timeout: float = 10.0) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        timeout = patience(timeout)
        try:
            # One that does not block is refused while the backlog is full (connect(2), EAGAIN).
            limit = struct.pack("@ll", int(timeout), int(timeout % 1 * 1e6))
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            self.sock.connect(PREFIX + name)
            self.sock.settimeout(timeout)
        except BaseException:
            self.sock.close()
            raise
        self._rest = b""

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, command: str, /, **args: Any) -> None:
        request = {"v": 1, "id": command, "command": command, "args": args}
        with suppress(BrokenPipeError, ConnectionResetError):  # it has said why already
            self.sock.sendall(json.dumps(request).encode() + b"\n")

    def receive(self) -> Any:
        """Take the next response as it is."""
        while b"\n" not in self._rest:
            data = self.sock.recv(65_536)
            if not data:
                raise EOFError(f"end of file after {self._rest!r}")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def ask(self, command: str, /, **args: Any) -> Any:
        """Give a command; return its result.

        Raises:
            RefusedError: it was not carried out.
        """
        self.send(command, **args)
        response = self.receive()
        # Who is turned away at the door has not been asked what for.
        assert (response["v"], response.get("id", command)) == (1, command), response
        if not response["ok"]:
            raise RefusedError(response["error"])
        return response["result"]


def query(name: str, command: str, /, *, timeout: float = 10.0, **args: Any) -> Any:
    """Give the host `name` one command, as a client of its own; return its result.

    Raises:
        RefusedError: it was not carried out.
    """
    with Asker(name, timeout) as asker:
        return asker.ask(command, **args)
