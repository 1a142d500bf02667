"""Servers that plugins of asyncio make on the listening sockets of the host."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from host.asyncio import AsyncioProtocol, ListeningSocket


def told(text: object) -> None:
    print(text, flush=True)


def saying(word: str) -> Any:
    """Return what serves a connection by saying a word."""

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{word}\n".encode())
        writer.close()

    return serve


class Everywhere(AsyncioProtocol):
    """One server on the host's name, as most libraries make it."""

    async def start(self, worker: Any) -> Any:
        self.server = await asyncio.start_server(saying("any"), "prefork", 7)
        for sock in self.server.sockets:
            told(f"{sock.listener.address} {sock.getsockname()!r} {sock.family.name}")
        return self.server

    async def stop(self, worker: Any) -> None:
        told(f"sockets at the end: {len(self.server.sockets)}")


class Each(AsyncioProtocol):
    """A server for each listening socket; of the last one, a socket that stands for the same."""

    async def start(self, worker: Any) -> None:
        *others, last = self.listening_sockets
        for number, sock in enumerate(others):
            server = await asyncio.start_server(saying(f"server {number}"), sock=sock)
            assert server.sockets == (sock,)
        duplicate = socket.fromfd(last.fileno(), last.family, last.type)
        make = asyncio.start_unix_server if last.family == socket.AF_UNIX else asyncio.start_server
        with duplicate:
            await make(saying("the last"), sock=duplicate)


class TooFew(AsyncioProtocol):
    """Serves but one of its listeners."""

    async def start(self, worker: Any) -> None:
        await asyncio.start_server(print, sock=self.listening_sockets[0])


class Again(AsyncioProtocol):
    """Serves a listener twice."""

    async def start(self, worker: Any) -> None:
        await asyncio.start_server(print, "prefork")
        await asyncio.start_server(print, sock=self.listening_sockets[0])


class Foreign(AsyncioProtocol):
    """Makes a server of its own, and one on a socket that no listener of its own is."""

    async def start(self, worker: Any) -> None:
        own = socket.create_server(("127.0.0.1", 0))
        server = await asyncio.start_server(saying("own"), sock=own)
        told(f"port {server.sockets[0].getsockname()[1]}")
        assert not isinstance(server.sockets[0], ListeningSocket)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
