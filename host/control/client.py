"""Asks running hosts: the client of the control socket."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

from host.control.commands import PREFIX, VERSION, address
from host.errors import RemoteError
from host.net.sockets import credentials
from host.settings.models import HOST_NAME
from host.text import printable, reason

DEFAULT = "prefork"
"""The name that hosts have by default."""

_NAME = re.compile(HOST_NAME, re.ASCII)
_LISTENS = 0x10000
"""The flag of a socket that listens (__SO_ACCEPTCON), in /proc/net/unix."""
_READ_BYTES = 65_536
_TIMEVAL = struct.Struct("@ll")
_LOOK_SECONDS = 0.1


class NoHostError(RemoteError):
    """No host has that name."""

    def __init__(self, name: str) -> None:
        names = ", ".join(running()) or "none"
        super().__init__(
            f'no host named "{printable(name)}" runs here (for this user, in this network '
            f"namespace); running: {names}"
        )


class RefusedError(RemoteError):
    """The host refuses to do what it was asked; the text is the host's."""


class LostError(RemoteError):
    """The connection ended before the host has answered."""

    def __init__(self, name: str) -> None:
        super().__init__(f'host "{name}" has closed the connection without an answer')


class SilentError(RemoteError):
    """The host does not answer in time."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(
            f'host "{name}" has not answered within {seconds:g} s (--timeout): it hangs, is '
            "stopped, or has much to do"
        )


def running() -> list[str]:
    """Return the names of the hosts that run in this network namespace, those of all users."""
    found = set()
    with suppress(OSError), open("/proc/net/unix", encoding="utf-8", errors="replace") as sockets:
        for line in sockets:
            fields = line.split()
            # Num, RefCount, Protocol, Flags, Type, St, Inode, Path; "@" stands for a NUL.
            path = fields[7] if len(fields) == 8 else ""
            if path.startswith(f"@{PREFIX}") and int(fields[3], 16) & _LISTENS:
                found.add(path[1 + len(PREFIX) :])
    return sorted(name for name in found if _NAME.fullmatch(name))


def default_name(names: Sequence[str]) -> str:
    """Return the name of the host that is meant when the user names none.

    Raises:
        RemoteError: there are several, and none has the name that hosts have by default.
    """
    if len(names) > 1 and DEFAULT not in names:
        raise RemoteError(f"several hosts run here ({', '.join(names)}): say which one with --name")
    return names[0] if len(names) == 1 else DEFAULT


def ask(name: str, command: str, args: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """Give a running host a command; return the result.

    Args:
        name: the host's name.
        command: the command.
        args: its arguments.
        timeout: seconds that it may take.

    Raises:
        RemoteError: there is no such host, it may not be asked, it does not answer, or it refuses.
    """
    request = {"v": VERSION, "command": command, "args": dict(args)}
    deadline = time.monotonic() + timeout
    with _connected(name, timeout) as sock:
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it has said why already
                sock.sendall(json.dumps(request).encode() + b"\n")
            line = _line(name, sock, deadline)
        except TimeoutError:
            raise SilentError(name, timeout) from None
    return _result(name, line)


@contextmanager
def _connected(name: str, timeout: float) -> Iterator[socket.socket]:
    if not _NAME.fullmatch(name):
        raise NoHostError(name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        # One that does not block is refused at once while the backlog is full (connect(2), EAGAIN).
        limit = _TIMEVAL.pack(int(timeout), int(timeout % 1 * 1e6) or 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            sock.connect(address(name))
        except ConnectionRefusedError:
            raise NoHostError(name) from None
        except BlockingIOError:
            raise SilentError(name, timeout) from None
        except OSError as error:
            raise RemoteError(f'cannot reach host "{name}": {reason(error)}') from None
        # Anybody may take an abstract name: an answer of another user's process is worth nothing.
        uid, own = credentials(sock)[1], os.geteuid()
        if own not in (0, uid):
            raise RemoteError(
                f'not permitted: host "{name}" runs as uid {uid}; ask it as that user, or as root'
            )
        sock.settimeout(timeout)
        yield sock


def _line(name: str, sock: socket.socket, deadline: float) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = sock.recv(_READ_BYTES)
        except ConnectionResetError:
            data = b""
        if not data:
            raise LostError(name)
        received += data
    return bytes(received)


def _result(name: str, line: bytes) -> dict[str, Any]:
    try:
        response = json.loads(line)
        if response["ok"]:
            return dict(response["result"])
        message = str(response["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise bad_answer(name) from None
    raise RefusedError("\n".join(printable(each) for each in message.splitlines()))


def bad_answer(name: str) -> RemoteError:
    """Return the error that says that an answer is not understood."""
    return RemoteError(
        f'host "{name}" gives an answer that is not understood here: is it of another version?'
    )


class ExitWatch:
    """Tells when a host has ended.

    It looks at its process. Where that cannot be seen, in another pid namespace, it looks whether
    the host's name is still taken.

    Args:
        name: the host's name.
        timeout: seconds that it may take to connect.

    Raises:
        RemoteError: there is no such host, or it may not be asked.
    """

    def __init__(self, name: str, timeout: float) -> None:
        self._name, self._timeout = name, timeout
        self._process: int | None = None
        with _connected(name, timeout) as sock:
            pid = credentials(sock)[0]
            if pid:
                with suppress(OSError):
                    self._process = os.pidfd_open(pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            os.close(self._process)

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, for so many seconds at most; tell whether it has."""
        if self._process is not None:
            return bool(select.select([self._process], [], [], seconds)[0])
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                with _connected(self._name, self._timeout):
                    pass
            except SilentError:
                continue
            except RemoteError:  # nobody has the name, or another user
                return True
            time.sleep(_LOOK_SECONDS)
        return False
