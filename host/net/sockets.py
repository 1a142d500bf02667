"""Sockets: their addresses as text, errors and credentials, and closing without a reset."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable

_CREDENTIALS = struct.Struct("3i")
_DISCARDS = 8
_DISCARD_BYTES = 65_536


def describe(address: object) -> str:
    """Return the text for a socket's address: `127.0.0.1:50211`, `[::1]:50211`, or `unix`."""
    if not isinstance(address, tuple):
        return "unix"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def discard_unread(read: Callable[[int, int], bytes], fd: int) -> None:
    """Read what has already arrived, before a non-blocking socket is closed.

    Closing over it would reset the peer (RFC 1122, 4.2.2.13), which may cost it the answer that it
    has not read yet. A peer that goes on sending is not waited for.
    """
    try:
        for _ in range(_DISCARDS):
            if not read(fd, _DISCARD_BYTES):
                return
    except OSError:
        return


def borrow(fd: int) -> socket.socket:
    """Return a socket object of a copy of `fd`, for what a descriptor alone cannot do; close it.

    Raises:
        OSError: it is no socket, or no descriptor is left.
    """
    return socket.socket(fileno=os.dup(fd))


def pending_error(fd: int) -> int:
    """Return the error that waits on a socket, 0 for none, and clear it (socket(7), SO_ERROR)."""
    with borrow(fd) as sock:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def credentials(sock: socket.socket) -> tuple[int, int]:
    """Return pid and uid of the process at the other end of a Unix socket (unix(7), SO_PEERCRED).

    The kernel has noted them at connect() or listen(). The pid is 0 in another pid namespace.
    """
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(found)
    return pid, uid
