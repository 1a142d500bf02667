"""Clients of UDP listeners."""

from __future__ import annotations

import select
import socket
from typing import Any, Self

from host.control import client as control
from host.settings.address import parse
from host.testing.machine import patience

SECONDS = 10.0


def client(address: str) -> socket.socket:
    """Return a socket of a client that hears from `address` alone; the caller closes it."""
    parsed = parse(address)
    family = socket.AF_INET6 if parsed.family == "udp6" else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.connect((parsed.host, parsed.port))
    sock.settimeout(patience(SECONDS))
    return sock


def ask(sock: socket.socket, data: bytes) -> bytes:
    """Send one datagram and return the answer."""
    sock.send(data)
    return sock.recv(70_000)


class Crowd:
    """Many clients, which ask in turn."""

    def __init__(self, address: str, count: int) -> None:
        self.clients = [client(address) for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self.clients:
            sock.close()

    def send(self, data: bytes) -> None:
        """Have each of them send the same."""
        for sock in self.clients:
            sock.send(data)

    def ask_all(self, data: bytes) -> list[bytes]:
        """Have each of them ask once; return the answers in their order."""
        self.send(data)
        return [sock.recv(70_000) for sock in self.clients]

    def heard(self) -> list[list[bytes]]:
        """Return what each of them has been sent so far, without waiting."""
        return [_all(sock) for sock in self.clients]


def _all(sock: socket.socket) -> list[bytes]:
    found = []
    while select.select([sock], [], [], 0)[0]:
        found.append(sock.recv(70_000))
    return found


def status(host: Any) -> Any:
    """Return what a host of a test tells about itself."""
    [starting] = host.events("host_starting")
    return control.ask(starting["name"], "status", {}, patience(20))
