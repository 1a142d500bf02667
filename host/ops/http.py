"""A small HTTP/1.1 server (RFC 9112) for pages that are only read: GET and HEAD, without bodies."""

from __future__ import annotations

import asyncio
import functools
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

MAX_CONNECTIONS = 64
"""More wait to be accepted, unless one of these can be closed: see `HttpServer`."""
_FULL_SECONDS = 0.01
"""How soon it is tried again to accept who has found no place."""
_MAX_HEAD_BYTES = 16_384
_READ_BYTES = 16_384
_UNSENT_BYTES = 65_536
_PAUSE_SECONDS = 0.5
"""How long none is accepted when there is no descriptor or no memory for one."""


class Patience(NamedTuple):
    """How long clients are waited for, in seconds.

    Attributes:
        head: for the head of a request, from its first byte, or from the start of the connection.
        idle: for another request: longer than Prometheus scrapes apart.
        write: for a client to take what is written to it.
    """

    head: float = 5.0
    idle: float = 75.0
    write: float = 10.0


PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Request:
    """A request.

    Attributes:
        method: `GET` or `HEAD`.
        path: the path, decoded.
        query: what follows it, by name; of several with one name the last.
        headers: the headers, by their names in small letters; of several with one name the last.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer.

    Attributes:
        body: all of it; or pieces that go out as they come, until the client goes.
        status: the status code.
        kind: its media type.
        headers: more headers.
    """

    body: bytes | AsyncGenerator[bytes]
    status: HTTPStatus = HTTPStatus.OK
    kind: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def text(
    status: HTTPStatus, words: str, headers: Mapping[str, str] = MappingProxyType({})
) -> Response:
    """Return an answer for people: a line of text."""
    return Response(f"{words}\n".encode(), status, headers=headers)


Handler = Callable[[Request], Awaitable[Response]]


class _RequestError(Exception):
    """A request that is not answered as it asks; `response` says why."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


@dataclass(eq=False, slots=True)
class _Client:
    """A connection: its streams, and what parses it.

    Attributes:
        waits_since: since when it is waited for a request; None while there is one.
        writes_since: since when it is waited that it takes what is written; None if it is not.
        has_asked: whether it has had a request before.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    patience: Patience
    parser: h11.Connection = field(
        default_factory=lambda: h11.Connection(
            h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES
        )
    )
    waits_since: float | None = None
    writes_since: float | None = None
    has_asked: bool = False

    def close(self) -> None:
        """Close it at once."""
        self.writer.transport.abort()

    async def finish(self) -> None:
        """Close it when the client has taken what is written, for which it has a while."""
        self.writer.close()
        self.writes_since = asyncio.get_running_loop().time()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(self.patience.write):
                await self.writer.wait_closed()
        self.close()


class HttpServer:
    """Serves requests on listening sockets.

    Where all places are taken, who comes has that of the client that has taken longest to take what
    is written, or else of the one that is waited for longest for a request. A client has one
    request at a time: one that sends more before its answer is closed after that.

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
        self._clients: set[_Client] = set()

    def start(self, sockets: Iterable[socket.socket]) -> None:
        """Begin to accept on listening sockets, which stay the caller's; call it in a loop."""
        self._listeners = list(sockets)
        for sock in self._listeners:
            sock.setblocking(False)
            self._listen(sock)

    async def close(self, grace_seconds: float) -> None:
        """Accept no more, and end: who has connected has `grace_seconds` to ask and be answered.

        Who has asked before and waits is closed at once.
        """
        self._is_closing = True
        for sock in self._listeners:
            asyncio.get_running_loop().remove_reader(sock)
        for client in list(self._clients):
            if client.waits_since is not None and client.has_asked:
                client.writer.close()
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
        streams = await asyncio.open_connection(sock=sock, limit=_READ_BYTES)
        client = _Client(*streams, self._patience)
        self._clients.add(client)
        client.writer.transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        try:
            while await self._serve_one(client) and not self._is_closing:
                client.parser.start_next_cycle()
        except (OSError, TimeoutError, h11.LocalProtocolError):
            pass  # the client is gone, or takes too long
        finally:
            await client.finish()
            self._clients.discard(client)

    def _make_room(self) -> bool:
        """Close the client that is waited for longest; False if none is: all wait for answers."""
        writing = [each for each in self._clients if each.writes_since is not None]
        waiting = writing or [each for each in self._clients if each.waits_since is not None]
        if not waiting:
            return False
        found = min(waiting, key=lambda each: each.writes_since or each.waits_since or 0.0)
        self._clients.discard(found)
        found.close()
        return True

    async def _serve_one(self, client: _Client) -> bool:
        """Answer one request; tell whether another one may follow on the connection."""
        method = "GET"
        try:
            asked = await _read_head(client)
            if asked is None:
                return False
            method, response = asked.method, await self._answer(asked)
        except _RequestError as error:
            response = error.response
        more = {**self._headers, **response.headers}
        if self._is_closing or client.parser.trailing_data[0]:
            more["Connection"] = "close"
        response = replace(response, headers=more)
        await _send(client, response, with_body=method != "HEAD")
        parser = client.parser
        return parser.our_state is h11.DONE and parser.their_state is h11.DONE

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except Exception as error:
            self._on_error(error)
            return text(HTTPStatus.INTERNAL_SERVER_ERROR, "this is a fault of the host itself")


async def _read_head(client: _Client) -> Request | None:
    """Return the next request; None if the client sends no more.

    Raises:
        _RequestError: it is none, or none that is answered.
        TimeoutError: it does not come in time.
    """
    loop, parser = asyncio.get_running_loop(), client.parser
    client.waits_since = loop.time()
    patience = client.patience
    until = loop.time() + (patience.idle if client.has_asked else patience.head)
    is_first = True
    while True:
        try:
            event = parser.next_event()
            if isinstance(event, h11.Request):
                client.waits_since, client.has_asked = None, True
                return _checked(client, event)
        except h11.RemoteProtocolError as error:  # of the head, or of a body that begins
            status = HTTPStatus(error.error_status_hint)
            raise _RequestError(text(status, f"no request of HTTP/1.1: {error}")) from None
        if event is h11.NEED_DATA:
            async with asyncio.timeout_at(until):
                data = await client.reader.read(_READ_BYTES)
            if is_first and data:
                is_first, until = False, loop.time() + patience.head
            parser.receive_data(data)
        elif isinstance(event, h11.ConnectionClosed):
            return None


def _checked(client: _Client, event: h11.Request) -> Request:
    """Return the request of an event.

    Raises:
        _RequestError: it is not answered: another method, or a body.
        h11.RemoteProtocolError: what follows the head is no body.
    """
    method = event.method.decode("ascii")
    if event.http_version not in (b"1.0", b"1.1"):
        words = "this is a server of HTTP/1.1"
        raise _RequestError(text(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, words))
    if method not in ("GET", "HEAD"):
        refused = text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD", {"Allow": "GET, HEAD"})
        raise _RequestError(refused)
    if not isinstance(client.parser.next_event(), h11.EndOfMessage):
        raise _RequestError(text(HTTPStatus.BAD_REQUEST, "a request has no body here"))
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
    target = event.target.decode("ascii", "replace")
    try:
        parts = urlsplit(target)
        path, query = unquote(parts.path), dict(parse_qsl(parts.query, max_num_fields=8))
    except ValueError:
        raise _RequestError(text(HTTPStatus.BAD_REQUEST, "no path is asked for")) from None
    return Request(method, path, query, headers)


@functools.lru_cache(1)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


async def _send(client: _Client, response: Response, *, with_body: bool) -> None:
    """Send an answer.

    Raises:
        OSError: the client is gone.
        TimeoutError: it takes nothing.
    """
    parser, body = client.parser, response.body
    date = _date(int(time.time()))
    headers = {"Date": date, "Content-Type": response.kind, **response.headers}
    if not isinstance(body, bytes):
        await _send_pieces(client, response.status, headers, body, with_body=with_body)
        return
    headers["Content-Length"] = str(len(body))
    if parser.their_state is not h11.DONE:
        headers["Connection"] = "close"
    head = h11.Response(
        status_code=response.status,
        reason=response.status.phrase,
        headers=list(headers.items()),
    )
    pieces = [parser.send(head)]
    if with_body:
        pieces.append(parser.send(h11.Data(data=body)))
    pieces.append(parser.send(h11.EndOfMessage()))
    await _write(client, b"".join(each for each in pieces if each))


async def _send_pieces(
    client: _Client,
    status: HTTPStatus,
    headers: Mapping[str, str],
    pieces: AsyncGenerator[bytes],
    *,
    with_body: bool,
) -> None:
    """Send a head and pieces as they come, until there are none or the client goes.

    The end of the connection is that of the answer (RFC 9112, 6.3), which h11 leaves to HTTP/1.0:
    so the death of this process is no fault for who reads, but an end after which to ask again.
    """
    lines = [f"HTTP/1.1 {status} {status.phrase}"]
    lines += [f"{name}: {value}" for name, value in {**headers, "Connection": "close"}.items()]
    closed = asyncio.ensure_future(client.reader.read(1))
    try:
        await _write(client, "\r\n".join([*lines, "", ""]).encode("latin-1"))
        while with_body and not closed.done():
            following = asyncio.ensure_future(anext(pieces, None))
            await asyncio.wait({following, closed}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                following.cancel()
                with suppress(asyncio.CancelledError):
                    await following
                return
            piece = following.result()
            if piece is None:
                return
            await _write(client, piece)
    finally:
        closed.cancel()
        with suppress(asyncio.CancelledError, OSError):
            await closed
        await pieces.aclose()


async def _write(client: _Client, data: bytes) -> None:
    client.writer.write(data)
    if not client.writer.transport.get_write_buffer_size():
        return  # the kernel has it
    client.writes_since = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(client.patience.write):
            await client.writer.drain()
    finally:
        client.writes_since = None
