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

from host.control.wire import MAX_PAGE_BYTES, PREFIX, VERSION, address
from host.errors import RemoteError
from host.net.credentials import credentials
from host.text import printable, reason

TYPE_CHECKING = False  # see host/__init__.py
if TYPE_CHECKING:
    from typing import Any, Self

DEFAULT = "prefork"
"""The name that hosts have by default."""

# As the settings have it (HOST_NAME), which take five times as long to import as all of this.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_LISTENS = 0x10000
"""The flag of a socket that listens (__SO_ACCEPTCON), in /proc/net/unix."""
_READ_BYTES = 65_536
_MAX_ANSWER_BYTES = 64 * MAX_PAGE_BYTES
"""Twice what 100,000 connections take, the most that can be asked for."""
_NAMES_SHOWN = 20
_TIMEVAL = struct.Struct("@ll")
_LOOK_SECONDS = 0.1


class NoHostError(RemoteError):
    """No host has that name."""

    def __init__(self, name: str) -> None:
        names = _listed(running()) or "none"
        super().__init__(
            f'no host named "{printable(name)}" runs here (for this user, in this network '
            f"namespace); running: {names}"
        )


class StrangerError(RemoteError):
    """The name of the host belongs to a process that is not believed."""

    def __init__(self, name: str, uid: int, pid: int) -> None:
        which = f"process {pid}" if pid else "a process"
        super().__init__(
            f'not permitted: host "{name}" is {which} of uid {uid}; only hosts of uid '
            f"{os.geteuid()} and of root are asked: ask it as that user"
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
            f'host "{name}" has not answered within {seconds:.3g} s (--timeout): it hangs, is '
            "stopped, or has much to do"
        )


class EndlessError(RemoteError):
    """The answer is longer than any of a host can be."""

    def __init__(self, name: str, uid: int, limit: int) -> None:
        super().__init__(
            f'host "{name}" (uid {uid}) has answered with more than {limit} bytes, which no host '
            "does: another program may have its name"
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
        raise RemoteError(f"several hosts run here ({_listed(names)}): say which one with --name")
    return names[0] if len(names) == 1 else DEFAULT


def _listed(names: Sequence[str]) -> str:
    """Return names in one line: anybody can take as many as they like."""
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


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
        pages = _Pages(name, sock, deadline)
        try:
            result, following = _result(name, pages.ask(request))
            while following is not None:
                more, following = _result(name, pages.ask({"v": VERSION, "next": following}))
                _join(result, more)
        except TimeoutError:
            raise SilentError(name, timeout) from None
    return result


def _join(result: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add what a further page has: lists go on."""
    for key, value in more.items():
        if isinstance(value, list):
            result.setdefault(key, []).extend(value)
        else:
            result[key] = value


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
        pid, uid = credentials(sock)
        if uid not in (0, os.geteuid()):
            raise StrangerError(name, uid, pid)
        sock.settimeout(timeout)
        yield sock


class _Pages:
    """Reads an answer page by page, and no more of it than a host can have sent.

    Args:
        name: the host's name.
        sock: a connected socket.
        deadline: until when all pages must be there, on the monotonic clock.
    """

    def __init__(self, name: str, sock: socket.socket, deadline: float) -> None:
        self._name, self._sock, self._deadline = name, sock, deadline
        self._uid = credentials(sock)[1]
        self._bytes = 0

    def ask(self, request: Mapping[str, Any]) -> bytes:
        """Send a request; return the line that answers it.

        Raises:
            TimeoutError: it does not come in time, whatever comes instead.
            RemoteError: the connection ends, or what comes is too long.
        """
        self._set_timeout()
        with suppress(BrokenPipeError, ConnectionResetError):  # it has said why already
            self._sock.sendall(json.dumps(request).encode() + b"\n")
        received = bytearray()
        while not received.endswith(b"\n"):
            self._set_timeout()
            try:
                data = self._sock.recv(_READ_BYTES)
            except ConnectionResetError:
                data = b""
            if not data:
                raise LostError(self._name)
            received += data
            self._bytes += len(data)
            for size, limit in (
                (len(received), MAX_PAGE_BYTES),
                (self._bytes, _MAX_ANSWER_BYTES),
            ):
                if size > limit:
                    raise EndlessError(self._name, self._uid, limit)
        return bytes(received)

    def _set_timeout(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)


def _result(name: str, line: bytes) -> tuple[dict[str, Any], int | None]:
    """Return the result that a line has, and the number of the page that goes on with it."""
    try:
        response = json.loads(line)
        if response["ok"]:
            return dict(response["result"]), response.get("next")
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
