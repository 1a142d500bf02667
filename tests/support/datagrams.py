"""Clients of UDP listeners."""

from __future__ import annotations

import select
import socket
from threading import Thread
from typing import Any, Self

from host.control import client as control
from host.settings.address import parse
from host.testing.machine import patience
from support.hosting import eventually

SECONDS = 10.0


def client(address: str, source: str = "") -> socket.socket:
    """Return a socket of a client that hears from `address` alone; the caller closes it.

    Args:
        address: that of the listener.
        source: its own IP address; "" for the one that the system chooses.
    """
    parsed = parse(address)
    family = socket.AF_INET6 if parsed.family == "udp6" else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if source:
        sock.bind((source, 0))
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


class Load:
    """Clients that each have a few datagrams under way, numbered, until they are told to stop.

    Attributes:
        answered: how many datagrams were answered.
        lost: how many were not, though a later one of the same client was.
        disorder: what came after a later one of the same client.
    """

    _FIRST_BYTES = 8

    def __init__(self, address: str, clients: int, window: int = 4) -> None:
        self._socks = [client(address) for _ in range(clients)]
        self._window, self._stopping = window, False
        self._sent, self._heard = [0] * clients, [0] * clients
        self.answered = self.lost = 0
        self.disorder: list[tuple[int, int]] = []
        self._epoll = select.epoll()
        for number, sock in enumerate(self._socks):
            self._epoll.register(sock, select.EPOLLIN)
            for _ in range(window):
                self._send(number)
        self._numbers = {sock.fileno(): number for number, sock in enumerate(self._socks)}
        self._thread = Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._thread.join()
        for sock in self._socks:
            sock.close()
        self._epoll.close()

    def goes_on(self, more: int = 1000) -> None:
        """Wait until so many more were answered."""
        until = self.answered + more
        eventually(lambda: self.answered >= until, "datagrams are answered")

    def finish(self) -> None:
        """Stop, and wait until the last datagram of each client is answered: none comes after it.

        Raises:
            TimeoutError: it is not.
        """
        self._stopping = True
        self._thread.join()
        for number, sock in enumerate(self._socks):
            last = self._send(number)
            while self._heard[number] < last:
                self._take(number, sock.recv(64))

    def _send(self, number: int) -> int:
        self._sent[number] += 1
        self._socks[number].send(self._sent[number].to_bytes(self._FIRST_BYTES, "big"))
        return self._sent[number]

    def _take(self, number: int, data: bytes) -> None:
        told = int.from_bytes(data, "big")
        before, self._heard[number] = self._heard[number], max(told, self._heard[number])
        if told <= before:
            self.disorder.append((number, told))
        self.answered += 1
        self.lost += max(0, told - before - 1)

    def _run(self) -> None:
        while not self._stopping:
            for fd, _ in self._epoll.poll(0.05):
                number = self._numbers[fd]
                self._take(number, self._socks[number].recv(64))
                while self._sent[number] - self._heard[number] < self._window:
                    self._send(number)
