"""A small server of HTTP/1.1: who takes nothing, or asks nothing, keeps no place from others."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from http import HTTPStatus
from types import MappingProxyType

from host.ops.http import (
    PATIENCE,
    Client,
    Patience,
    Request,
    RequestError,
    Response,
    read_request,
    send,
    text,
)

MAX_CONNECTIONS = 96
"""More wait to be accepted, unless one of these can be closed: see `HttpServer`."""
MAX_STREAMS = 16
"""Answers that come in pieces, at a time; more are refused unless one of these can be closed."""
_FULL_SECONDS = 0.01
"""How soon it is tried again to accept who has found no place."""
_PAUSE_SECONDS = 0.5
"""How long none is accepted when there is no descriptor or no memory for one."""

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
        self._handler, self._on_error, self._patience = handler, on_error, patience
        self._headers = headers
        self._listeners: list[socket.socket] = []
        self._is_closing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[Client] = set()
        self._remembered: dict[bytes, Request] = {}

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
        self._is_closing = True
        for sock in self._listeners:
            asyncio.get_running_loop().remove_reader(sock)
        for client in list(self._clients):
            if client.waits_since is not None and client.has_asked:
                client.writer.close()
            client.end_stream()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)
        for client in list(self._clients):
            client.close()

    def _listen(self, sock: socket.socket) -> None:
        if not self._is_closing:
            asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def _listen_later(self, listener: socket.socket, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(listener)
        loop.call_later(seconds, self._listen, listener)

    def _accept(self, listener: socket.socket) -> None:
        """Accept one connection: who is accepted is served, whatever happens to the server.

        asyncio's own servers drop those of the last turns when they are closed.
        """
        if len(self._tasks) >= MAX_CONNECTIONS and not self._make_room():
            self._listen_later(listener, _FULL_SECONDS)
            return
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another process has it, or the client is gone
        except OSError:
            self._listen_later(listener, _PAUSE_SECONDS)
            return
        task = asyncio.get_running_loop().create_task(self._serve(sock))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock: socket.socket) -> None:
        client = await Client.of(sock, self._patience, self._remembered)
        self._clients.add(client)
        try:
            while await self._serve_one(client) and not self._is_closing:
                pass
        except (OSError, TimeoutError):
            pass  # the client is gone, or takes too long
        finally:
            await client.finish()
            self._clients.discard(client)

    def _make_room(self) -> bool:
        """Close the client that is waited for longest; False if none is: all wait for answers."""
        if self._close_slowest(self._clients):
            return True
        waiting = [each for each in self._clients if each.waits_since is not None]
        return bool(waiting) and self._drop(min(waiting, key=lambda each: each.waits_since or 0.0))

    def _close_slowest(self, clients: Iterable[Client]) -> bool:
        """Close the one that has taken longest to take what is written; False if all take it."""
        writing = [each for each in clients if each.writes_since is not None]
        return bool(writing) and self._drop(min(writing, key=lambda each: each.writes_since or 0.0))

    def _drop(self, client: Client) -> bool:
        self._clients.discard(client)
        client.close()
        return True

    def _begin_stream(self, client: Client) -> bool:
        """Give an answer in pieces a place, if there is one or one can be had."""
        streaming = [each for each in self._clients if each.is_streaming]
        if len(streaming) >= MAX_STREAMS and not self._close_slowest(streaming):
            return False
        client.begin_stream()
        return True

    async def _serve_one(self, client: Client) -> bool:
        """Answer one request; tell whether another one may follow on the connection."""
        method = "GET"
        try:
            asked = await read_request(client)
            if asked is None:
                return False
            method, response = asked.method, await self._answer(asked)
        except RequestError as error:
            response = error.response
        if not isinstance(response.body, bytes) and not self._begin_stream(client):
            words = f"there are {MAX_STREAMS} such clients already, which is the most"
            response = text(HTTPStatus.SERVICE_UNAVAILABLE, words)
        client.keeps_alive = client.keeps_alive and not self._is_closing
        response = replace(response, headers={**self._headers, **response.headers})
        await send(client, response, with_body=method != "HEAD")
        return client.keeps_alive

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except Exception as error:
            self._on_error(error)
            return text(HTTPStatus.INTERNAL_SERVER_ERROR, "this is a fault of the host itself")
