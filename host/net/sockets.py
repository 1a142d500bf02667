"""Sockets: their addresses as text, errors and credentials, and closing without a reset."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from host.interfaces import ConnectionOrigin, TlsInfo
from host.net.credentials import credentials

_RESET = struct.pack("ii", 1, 0)
_DISCARDS = 8
_DISCARD_BYTES = 65_536


class KnowsTls(Protocol):
    """A TLS session whose handshake is done."""

    def info(self) -> TlsInfo:
        """Return what was agreed on."""


def describe(address: object) -> str:
    """Return the text for a socket's address: `127.0.0.1:50211`, `[::1]:50211`, or `unix`."""
    if not isinstance(address, tuple):
        return "unix"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bound_address(sock: socket.socket) -> str:
    """Return what a socket is bound to, as settings have it: `tcp://…` or `unix:…`.

    Of other sockets than a host has, what they are.
    """
    name = sock.getsockname()
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        scheme = "udp" if sock.type == socket.SOCK_DGRAM else "tcp"
        return f"{scheme}://{describe(name)}"
    if sock.family != socket.AF_UNIX:
        return f"a socket of {socket.AddressFamily(sock.family).name}"
    text = os.fsdecode(name)
    return f"unix:@{text[1:]}" if text.startswith("\0") else f"unix:{text}"


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


def origin(address: object, fd: int) -> ConnectionOrigin:
    """Return what is known of the peer of a connection.

    Args:
        address: what accept(2) has returned.
        fd: its descriptor, to ask the kernel whose process has connected to a Unix socket.
    """
    peer = describe(address)
    if isinstance(address, tuple):
        return ConnectionOrigin(peer, *address[:2], *address[3:])
    try:
        with borrow(fd) as sock:
            pid, uid = credentials(sock)
    except OSError:  # the connection has ended
        return ConnectionOrigin(peer)
    return ConnectionOrigin(peer, uid=uid, pid=pid)


@dataclass(slots=True, eq=False)
class LateOrigin:
    """What is known of a client with TLS, found out when somebody asks: hardly anybody does.

    To ask OpenSSL and to put it all together takes a twentieth of a handshake, and as long as the
    connection is open it takes more memory than this.

    Args:
        address: the address, as accept(2) has returned it, or an origin without TLS.
        session: its session.
    """

    address: object
    session: KnowsTls

    @property
    def peer(self) -> str:
        """The client as text."""
        address = self.address
        return address.peer if isinstance(address, ConnectionOrigin) else describe(address)

    @property
    def uid(self) -> int | None:
        """The user whose process has connected to a Unix socket; None unless that was asked for."""
        return self.address.uid if isinstance(self.address, ConnectionOrigin) else None

    @property
    def tls(self) -> TlsInfo:
        """What was agreed on."""
        return self.session.info()

    def find(self, fd: int) -> ConnectionOrigin:
        """Return all of it; `fd` is the descriptor of the connection."""
        address = self.address
        found = address if isinstance(address, ConnectionOrigin) else origin(address, fd)
        return replace(found, tls=self.tls)


def borrow(fd: int) -> socket.socket:
    """Return a socket object of a copy of `fd`, for what a descriptor alone cannot do; close it.

    Raises:
        OSError: it is no socket, or no descriptor is left.
    """
    return socket.socket(fileno=os.dup(fd))


def reset_on_close(fd: int) -> None:
    """Have close(2) reset the peer and drop what it has not taken (socket(7), SO_LINGER with 0).

    A Unix socket has no reset; its peer sees an end.
    """
    sock = socket.socket(fileno=fd)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    finally:
        sock.detach()


def pending_error(fd: int) -> int:
    """Return the error that waits on a socket, 0 for none, and clear it (socket(7), SO_ERROR)."""
    with borrow(fd) as sock:
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
