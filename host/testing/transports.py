"""How the peers of a chaos run reach its hosts."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from host.testing.running import RunningHost

MEMORY = "memory"
"""What tables call the conversations that are held without a host."""

_SEND_BUFFER_BYTES = 16_384
"""Little, so that a peer cannot send on for long when the host holds it back."""
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Transport:
    """A way to reach a host.

    One over TLS, or behind a proxy, is another of these: the settings have its listener's options,
    and `begin` does what comes before the conversation.

    Attributes:
        name: what tables call it.
        address: makes an address to listen on, which nobody else uses.
        open: makes a socket that is not connected, with small buffers where that is possible.
        settings: settings of the host that it needs, by their dotted names.
        begin: is called with each socket once it is connected, and returns what to talk over.
    """

    name: str
    address: Callable[[], str]
    open: Callable[[], socket.socket]
    settings: Mapping[str, object] = field(default_factory=dict)
    begin: Callable[[socket.socket], socket.socket] = lambda sock: sock

    def connect(self, host: RunningHost, seconds: float) -> socket.socket:
        """Return a connected socket; the caller closes it.

        Args:
            host: the host, which listens on one address of this transport.
            seconds: the time-out of each call on the socket.
        """
        sock = self.open()
        try:
            sock.settimeout(seconds)
            sock.connect(_place(host.addresses[0]))
            return self.begin(sock)
        except BaseException:
            sock.close()
            raise


def _tcp() -> socket.socket:
    """Return a TCP socket that holds little, on both ends.

    A small receive buffer makes a small window. What the host's end may keep depends on the size of
    segments (tcp(7), TCP_MAXSEG): with those of the loopback device it would be megabytes.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    return sock


def _unix() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    return sock


def _place(address: str) -> tuple[str, int] | str:
    """Return what connect() takes of an address such as `tcp://127.0.0.1:7000`, `unix:@name`."""
    kind, _, place = address.partition(":")
    if kind == "unix":
        return "\0" + place[1:] if place.startswith("@") else place
    name, _, port = place.removeprefix("//").rpartition(":")
    return name.strip("[]"), int(port)


TCP = Transport("tcp", lambda: "tcp://127.0.0.1:0", _tcp)
UNIX = Transport(
    "unix",
    # An abstract one leaves nothing behind, and its name always fits (unix(7)).
    lambda: f"unix:@prefork-chaos-{os.getpid()}-{next(_numbers)}",
    _unix,
)
TRANSPORTS = (TCP, UNIX)
"""All, in the order of the table's columns."""
