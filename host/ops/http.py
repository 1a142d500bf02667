"""HTTP/1.1 (RFC 9112) on one connection, for pages that are only read: GET and HEAD."""

from __future__ import annotations

import asyncio
import functools
import socket
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

_MAX_HEAD_BYTES = 16_384
_MOST_REMEMBERED, _REMEMBERED_BYTES = 64, 2048
"""How many heads are remembered, and how long each may be."""
_READ_BYTES = 16_384
_UNSENT_BYTES = 65_536
_KERNEL_BYTES_OF_STREAMS = 131_072
"""So much of a stream the kernel keeps, or twice that (socket(7)): it would be megabytes, and who
reads nothing would not be seen for long."""


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


class RequestError(Exception):
    """A request that is not answered as it asks; `response` says why."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


@dataclass(eq=False, slots=True)
class Client:
    """A connection: its streams, and what is known of its requests.

    Attributes:
        remembered: heads of requests, and what each asks for: those who ask again and again send
            the same bytes, and to parse them is half of an answer.
        keeps_alive: whether it may send another request after its answer.
        waits_since: since when it is waited for a request; None while there is one.
        writes_since: since when it is waited that it takes what is written; None if it is not.
        has_asked: whether it has had a request before.
        is_streaming: whether its answer comes in pieces.
        gone: what is done when it goes in the middle of such an answer; None without one.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    patience: Patience
    remembered: dict[bytes, Request]
    keeps_alive: bool = False
    waits_since: float | None = None
    writes_since: float | None = None
    has_asked: bool = False
    is_streaming: bool = False
    gone: asyncio.Future[bytes] | None = None

    @classmethod
    async def of(
        cls, sock: socket.socket, patience: Patience, remembered: dict[bytes, Request]
    ) -> Client:
        """Return the client of an accepted socket, which it closes; call it in a loop."""
        streams = await asyncio.open_connection(sock=sock, limit=_READ_BYTES)
        client = cls(*streams, patience, remembered)
        client.writer.transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        return client

    def begin_stream(self) -> None:
        """Have the kernel keep little from now on of what it does not take."""
        self.is_streaming = True
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES_OF_STREAMS)

    def end_stream(self) -> None:
        """End its answer in pieces, if it has one, whatever the next piece waits for."""
        if self.gone is not None:
            self.gone.cancel()

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


async def read_request(client: Client) -> Request | None:
    """Return the next request; None if the client sends no more.

    Raises:
        RequestError: it is none, or none that is answered.
        TimeoutError: it does not come in time.
    """
    now, patience = asyncio.get_running_loop().time(), client.patience
    client.waits_since, client.keeps_alive = now, False
    data = await _read(client, now + (patience.idle if client.has_asked else patience.head))
    if not data:
        return None
    try:
        if (known := client.remembered.get(data)) is not None:
            client.keeps_alive = True
            return known
        return await _parsed(client, data)
    finally:
        client.waits_since, client.has_asked = None, True


async def _read(client: Client, until: float) -> bytes:
    async with asyncio.timeout_at(until):
        return await client.reader.read(_READ_BYTES)


async def _parsed(client: Client, data: bytes) -> Request | None:
    """Return the request that begins with `data`, and remember it if that is all of it.

    Returns: None if there is none up to the end of what the client sends.

    Raises:
        RequestError: it is none, or none that is answered.
        TimeoutError: it does not come in time.
    """
    until = asyncio.get_running_loop().time() + client.patience.head
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES)
    parser.receive_data(data)
    try:
        while (event := parser.next_event()) is h11.NEED_DATA:
            parser.receive_data(await _read(client, until))
            data = b""
        if not isinstance(event, h11.Request):
            return None
        request = _checked(parser, event)
    except h11.RemoteProtocolError as error:  # of the head, or of a body that begins
        status = HTTPStatus(error.error_status_hint)
        raise RequestError(text(status, f"no request of HTTP/1.1: {error}")) from None
    # Who sends more before the answer is closed after that.
    client.keeps_alive = parser.their_state is h11.DONE and not parser.trailing_data[0]
    if client.keeps_alive and data and len(data) <= _REMEMBERED_BYTES:
        if len(client.remembered) >= _MOST_REMEMBERED:
            client.remembered.clear()
        client.remembered[data] = request
    return request


def _checked(parser: h11.Connection, event: h11.Request) -> Request:
    """Return the request of an event.

    Raises:
        RequestError: it is not answered: another method, or a body.
        h11.RemoteProtocolError: what follows the head is no body.
    """
    method = event.method.decode("ascii")
    if event.http_version not in (b"1.0", b"1.1"):
        words = "this is a server of HTTP/1.1"
        raise RequestError(text(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, words))
    if method not in ("GET", "HEAD"):
        refused = text(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD", {"Allow": "GET, HEAD"})
        raise RequestError(refused)
    headers = {name.decode("ascii"): value.decode("latin-1") for name, value in event.headers}
    # One of no bytes, too: a proxy before this server may see its end elsewhere (6.1).
    if not isinstance(parser.next_event(), h11.EndOfMessage) or "transfer-encoding" in headers:
        raise RequestError(text(HTTPStatus.BAD_REQUEST, "a request has no body here"))
    target = event.target.decode("ascii", "replace")
    try:
        if not target.startswith("/"):  # it names the host, and the header does not (3.2.2)
            parts = urlsplit(target)
            if not parts.netloc:
                raise ValueError
            target, headers["host"] = f"{parts.path or '/'}?{parts.query}", parts.netloc
        path, _, query = target.partition("?")
        return Request(method, unquote(path), dict(parse_qsl(query, max_num_fields=8)), headers)
    except ValueError:
        raise RequestError(text(HTTPStatus.BAD_REQUEST, "no path is asked for")) from None


@functools.lru_cache(1)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


async def send(client: Client, response: Response, *, with_body: bool) -> None:
    """Send an answer.

    Raises:
        OSError: the client is gone.
        TimeoutError: it takes nothing.
    """
    body, size = response.body, {}
    if isinstance(body, bytes):
        size = {"Content-Length": str(len(body))}
    else:
        client.keeps_alive = False
    if not client.keeps_alive:
        size["Connection"] = "close"
    status, date = response.status, _date(int(time.time()))
    headers = {"Date": date, "Content-Type": response.kind, **response.headers, **size}
    lines = [f"HTTP/1.1 {status} {status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    if isinstance(body, bytes):
        await _write(client, head + body if with_body else head)
    else:
        await _send_pieces(client, head, body, with_body=with_body)


async def _send_pieces(
    client: Client, head: bytes, pieces: AsyncGenerator[bytes], *, with_body: bool
) -> None:
    """Send a head and pieces as they come, until there are none or the client goes.

    The end of the connection is that of the answer (RFC 9112, 6.3): so the death of this process is
    no fault for who reads, but an end after which to ask again.
    """
    client.gone = gone = asyncio.ensure_future(client.reader.read(1))
    waits: set[asyncio.Future[bytes]] = {gone}
    try:
        await _write(client, head)
        while with_body and not gone.done():
            following = asyncio.ensure_future(anext(pieces, b""))
            waits = {gone, following}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not following.done() or not (piece := following.result()):
                return
            await _write(client, piece)
    finally:
        for each in waits:
            each.cancel()
        # The pieces cannot be closed while one of them is waited for.
        await asyncio.gather(*waits, return_exceptions=True)
        await pieces.aclose()


async def _write(client: Client, data: bytes) -> None:
    client.writer.write(data)
    if not client.writer.transport.get_write_buffer_size():
        return  # the kernel has it
    client.writes_since = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(client.patience.write):
            await client.writer.drain()
    finally:
        client.writes_since = None
