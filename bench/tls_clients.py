"""Clients of servers with TLS, which are in Python: only what the server uses counts."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from bench.clients import PATIENCE_SECONDS, LoadError
from bench.results import Reading
from bench.servers import Server

PROGRAM = "tls"
NAME = "localhost"


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
                    stack.enter_context(_connected(server.port, context))
                    for _ in range(connections)
                ]
            except OSError as error:
                raise LoadError(f"could not connect to {server.contender.name}: {error}") from None
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stack.close()

    def run(self, seconds: float) -> Reading:
        """Measure for about `seconds`."""
        before, began, count = self._server.cpu_seconds(), time.monotonic(), 0
        try:
            while (took := time.monotonic() - began) < seconds:
                self._exchange()
                count += len(self._clients)
        except OSError as error:
            raise LoadError(f"{self._server.contender.name} does not answer: {error}") from None
        used = self._server.cpu_seconds() - before
        return {
            "operations": count,
            "seconds": took,
            "rate": count / took,
            "cpu_us": used / count * 1e6,
            "server_cores": used / took,
        }

    def _exchange(self) -> None:
        for client in self._clients:
            client.sendall(self._data)
        for client in self._clients:
            left = self._data
            while left:
                found = client.recv(len(left))
                if not found or found != left[: len(found)]:
                    raise LoadError(f"{self._server.contender.name} answers something else")
                left = left[len(found) :]


def _connected(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(sock, server_hostname=NAME)
