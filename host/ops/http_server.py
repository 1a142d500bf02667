"""A small server of HTTP/1.1: who takes nothing, or asks nothing, keeps no place from others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType

from host.ops.http import Request, Response, text
from host.ops.http_connection import PATIENCE, Connection, Patience, Service

MAX_CONNECTIONS = 96
"""More wait to be accepted, unless one of these can be closed: see `HttpServer`."""
MAX_STREAMS = 16
"""Answers that come in pieces, at a time; more are refused unless one of these can be closed."""
_READ_BYTES = 16_384
_FULL_SECONDS = 0.01
"""How soon it is tried again to accept who has found no place."""
_PAUSE_SECONDS = 0.5
"""How long none is accepted when there is no descriptor or no memory for one."""
_LOOK_SECONDS = 0.25
"""How often it is looked, while there are connections, whether one has taken too long."""

Handler = Callable[[Request], Awaitable[Response]]


class HttpServer:
    """Serves requests on listening sockets.

    Where all places are taken, who comes has that of the client that has taken longest to take what
    is written, or else of the one that is waited for longest for a request. A client has one
    request at a time: one that sends more before its answer is closed after that. So it is with
    places of streams.

    Args:
        handler: answers a request; an exception of it is answered with 500 and told.
        on_error: told of such exceptions.
        headers: what each answer has, too.
        patience: how long clients are waited for.
    """

    def __init__(
        self,
        handler: Handler,
        on_error: Callable[[Exception], object],
        headers: Mapping[str, str] = MappingProxyType({}),
        patience: Patience = PATIENCE,
    ) -> None:
        self._handler, self._on_error = handler, on_error
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._service = Service(
            self._answer, lines, patience, bytearray(_READ_BYTES), {}, on_error, self._forget
        )
        self._listeners: list[socket.socket] = []
        self._clients: set[Connection] = set()
        self._arriving: set[asyncio.Task[object]] = set()
        self._next_look: asyncio.TimerHandle | None = None
        self._left: asyncio.Future[None] | None = None

    def start(self, sockets: Iterable[socket.socket]) -> None:
        """Begin to accept on listening sockets, which stay the caller's; call it in a loop."""
        self._listeners = list(sockets)
        for sock in self._listeners:
            sock.setblocking(False)
            self._listen(sock)

    async def close(self, grace_seconds: float) -> None:
        """Accept no more, and end: who has connected has `grace_seconds` to ask and be answered.

        Who has asked before and waits is closed at once, and answers in pieces end: whatever makes
        the pieces may be waiting for what has no time to answer any more.
        """
        loop = asyncio.get_running_loop()
        for sock in self._listeners:
            loop.remove_reader(sock)
        self._left = loop.create_future()
        for client in list(self._clients):
            client.finish()
        if self._clients:
            await asyncio.wait({self._left}, timeout=grace_seconds)
        for client in list(self._clients):
            client.close()
        if self._clients:
            await asyncio.wait({self._left}, timeout=grace_seconds)

    def _listen(self, sock: socket.socket) -> None:
        if self._left is None:
            asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def _listen_later(self, listener: socket.socket, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        loop.call_later(seconds, self._listen, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Accept one connection: who is accepted is served, whatever happens to the server.

        asyncio's own servers drop those of the last turns when they are closed.
        """
        if len(self._clients) >= MAX_CONNECTIONS and not self._make_room():
            self._listen_later(listener, _FULL_SECONDS)
            return
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another process has it, or the client is gone
        except OSError:
            self._listen_later(listener, _PAUSE_SECONDS)
            return
        client, loop = Connection(self._service), asyncio.get_running_loop()
        self._clients.add(client)
        task = loop.create_task(loop.connect_accepted_socket(lambda: client, sock))
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)
        if self._next_look is None:
            self._next_look = loop.call_later(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """Close clients that have taken too long."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for client in list(self._clients):
            if client.deadline is not None and client.deadline <= now:
                client.close()
        self._next_look = loop.call_later(_LOOK_SECONDS, self._look) if self._clients else None

    def _forget(self, client: Connection) -> None:
        self._clients.discard(client)
        if self._left is not None and not self._left.done() and not self._clients:
            self._left.set_result(None)

    def _make_room(self) -> bool:
        """Close the client that is waited for longest; False if none is: all wait for answers."""
        if self._close_slowest(self._clients):
            return True
        waiting = [each for each in self._clients if each.waits_since is not None]
        return bool(waiting) and self._drop(min(waiting, key=lambda each: each.waits_since or 0.0))

    def _close_slowest(self, clients: Iterable[Connection]) -> bool:
        """Close the one that has taken longest to take what is written; False if all take it."""
        writing = [each for each in clients if each.writes_since is not None]
        return bool(writing) and self._drop(min(writing, key=lambda each: each.writes_since or 0.0))

    def _drop(self, client: Connection) -> bool:
        self._clients.discard(client)
        client.close()
        return True

    async def _answer(self, client: Connection, request: Request) -> Response:
        """Answer a request; one in pieces needs a place, if there is one or one can be had."""
        try:
            response = await self._handler(request)
        except Exception as error:
            self._on_error(error)
            return text(HTTPStatus.INTERNAL_SERVER_ERROR, "this is a fault of the host itself")
        if isinstance(response.body, bytes):
            return response
        streaming = [each for each in self._clients if each.is_streaming]
        if len(streaming) < MAX_STREAMS or self._close_slowest(streaming):
            client.begin_stream()
            return response
        await response.body.aclose()
        words = f"there are {MAX_STREAMS} such clients already, which is the most"
        return text(HTTPStatus.SERVICE_UNAVAILABLE, words)
