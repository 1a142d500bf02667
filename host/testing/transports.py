"""How the peers of a chaos run reach its hosts."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from host.testing.entry import PLAIN, Entry
from host.testing.running import RunningHost, place_of
from host.testing.tls_client import TlsClient, make_certificate

MEMORY = "memory"
"""What tables call the conversations that are held without a host."""

_SEND_BUFFER_BYTES = 16_384
"""Little, so that a peer cannot send on for long when the host holds it back."""
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Transport:
    """A way to reach a host.

    Attributes:
        name: what tables call it.
        address: makes an address to listen on, which nobody else uses.
        open: makes a socket that is not connected, with small buffers where that is possible.
        entry: what the host wants of clients.
    """

    name: str
    address: Callable[[], str]
    open: Callable[[], socket.socket]
    entry: Entry = PLAIN

    def settings(self) -> dict[str, object]:
        """Return settings, by their dotted names, for a host on an address nobody else uses."""
        return self.entry.settings([self.address()])

    def connect(self, host: RunningHost, seconds: float) -> socket.socket | TlsClient:
        """Return a connected socket; the caller closes it.

        Args:
            host: the host, which listens on one address of this transport.
            seconds: the time-out of each call on the socket.
        """
        sock = self.open()
        try:
            sock.settimeout(seconds)
            sock.connect(place_of(host.addresses[0]))
            self.entry.introduce(sock)
            context = self.entry.context
            return sock if context is None else TlsClient(sock, context, "localhost")
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


TCP = Transport("tcp", lambda: "tcp://127.0.0.1:0", _tcp)
UNIX = Transport(
    "unix",
    # An abstract one leaves nothing behind, and its name always fits (unix(7)).
    lambda: f"unix:@prefork-chaos-{os.getpid()}-{next(_numbers)}",
    _unix,
)
PROXY = Transport("proxy", TCP.address, _tcp, Entry(proxy="v2"))
NAMES = ("tcp", "unix", "tls", "proxy")
"""All, in the order of the table's columns."""


def check_names(names: Sequence[str]) -> None:
    """Refuse transports that do not exist.

    Raises:
        ValueError: one of them does not, or there is none.
    """
    there = f"there are {', '.join(NAMES)}"
    if not names:
        raise ValueError(f"no transport is named: {there}")
    if unknown := [name for name in names if name not in NAMES]:
        raise ValueError(f"no transport is called {unknown[0]!r}: {there}")


@contextmanager
def opened(names: Sequence[str]) -> Iterator[list[Transport]]:
    """Return the transports of these names, in the order of `NAMES`.

    Their certificate lies in a folder that is removed at the end.

    Raises:
        RuntimeError: no certificate could be made.
    """
    found = {each.name: each for each in (TCP, UNIX, PROXY)}
    with TemporaryDirectory(prefix="prefork-tests-") as folder:
        if "tls" in names:
            entry = Entry(make_certificate(Path(folder)))
            found["tls"] = Transport("tls", TCP.address, _tcp, entry)
        yield [found[name] for name in NAMES if name in names]
