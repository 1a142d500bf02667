"""Clients of servers with TLS, which are in Python: only what the server uses counts."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import ExitStack
from typing import Self

from bench.clients import PATIENCE_SECONDS, LoadError, measured
from bench.results import Reading
from bench.servers import Server

PROGRAM = "tls"
HOST_NAME = "localhost"


class TlsClients:
    """Connections that all send a message, and then all wait for its echo; a context manager.

    Args:
        server: what is asked.
        connections: how many there are.
        size: how long a message is, in bytes.
        authority: the file with the certificate of who has issued the server's.
    """

    def __init__(self, server: Server, connections: int, size: int, authority: str) -> None:
        self._server, self._data = server, bytes(size)
        context = ssl.create_default_context(cafile=authority)
        with ExitStack() as stack:
            try:
                self._clients = [
                    stack.enter_context(
                        context.wrap_socket(connect(server.port), server_hostname=HOST_NAME)
                    )
                    for _ in range(connections)
                ]
            except OSError as error:
                raise LoadError(f"could not connect to {server.contender.name}: {error}") from None
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, seconds: float) -> Reading:
        """Measure for about `seconds`."""
        try:
            return measured(self._server, seconds, self.exchange)
        except OSError as error:
            raise LoadError(f"{self._server.contender.name} does not answer: {error}") from None

    def exchange(self) -> list[float]:
        """Have each send a message and read its echo; return how long each took, in seconds.

        Raises:
            LoadError: an answer is something else.
            OSError: from send(2) or recv(2).
        """
        began, took = [], []
        for client in self._clients:
            began.append(time.monotonic())
            client.sendall(self._data)
        for client, then in zip(self._clients, began, strict=True):
            left = self._data
            while left:
                found = client.recv(len(left))
                if not found or found != left[: len(found)]:
                    raise LoadError(f"{self._server.contender.name} answers something else")
                left = left[len(found) :]
            took.append(time.monotonic() - then)
        return took


def connect(port: int) -> socket.socket:
    """Connect to a server on the loopback, without TLS yet."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
