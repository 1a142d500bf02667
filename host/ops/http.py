"""HTTP/1.1 (RFC 9112) for pages that are only read: requests of GET and HEAD, and answers."""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncGenerator, Mapping
from email.utils import formatdate
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import h11

_MAX_HEAD_BYTES = 16_384
_MOST_REMEMBERED, _REMEMBERED_BYTES = 64, 2048
"""How many heads are remembered, and how long each may be."""


class Request(NamedTuple):
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


class Response(NamedTuple):
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
    headers: Mapping[str, str] = MappingProxyType({})


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


class RequestReader:
    """Reads one request after the other of a client.

    Args:
        remembered: heads of requests, and what each asks for: those who ask again and again send
            the same bytes, and to parse them is most of an answer.

    Attributes:
        keeps_alive: whether the client may send another request after the answer to the last one.
        wants_body: whether that answer has a body: to HEAD none has, whatever it says (RFC 9110,
            9.3.2).
    """

    def __init__(self, remembered: dict[bytes, Request]) -> None:
        self._remembered = remembered
        self._parser: h11.Connection | None = None
        self.keeps_alive = False
        self.wants_body = True

    def receive(self, data: bytes) -> Request | None:
        """Return the request that ends with `data`; None if more has to come.

        Args:
            data: what the client has sent; b"" if it sends no more.

        Raises:
            RequestError: it is none, or none that is answered; nothing can be read after it.
        """
        is_first = self._parser is None
        if is_first and not data:
            return None
        if is_first and (known := self._remembered.get(data)) is not None:
            self.keeps_alive, self.wants_body = True, known.method != "HEAD"
            return known
        parser = self._parser = self._parser or h11.Connection(
            h11.SERVER, max_incomplete_event_size=_MAX_HEAD_BYTES
        )
        try:
            self.wants_body = True
            parser.receive_data(data)
            event = parser.next_event()
            if not isinstance(event, h11.Request):
                return None
            self.wants_body = event.method != b"HEAD"
            request = _checked(parser, event)
        except h11.RemoteProtocolError as error:  # of the head, or of a body that begins
            status = HTTPStatus(error.error_status_hint)
            raise RequestError(text(status, f"no request of HTTP/1.1: {error}")) from None
        self._parser = None
        # Who sends more before the answer is closed after that.
        self.keeps_alive = parser.their_state is h11.DONE and not parser.trailing_data[0]
        if self.keeps_alive and is_first and len(data) <= _REMEMBERED_BYTES:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            self._remembered[data] = request
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


def head(response: Response, more: str, *, keeps_alive: bool) -> bytes:
    """Return the head of an answer.

    Args:
        response: the answer.
        more: the lines of more headers, each with its end.
        keeps_alive: whether the client may send another request.
    """
    status, body = response.status, response.body
    own = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
    size = f"Content-Length: {len(body)}\r\n" if isinstance(body, bytes) else ""
    closing = "" if keeps_alive else "Connection: close\r\n"
    return (
        f"HTTP/1.1 {status} {status.phrase}\r\nDate: {_date(int(time.time()))}\r\n"
        f"Content-Type: {response.kind}\r\n{more}{own}{size}{closing}\r\n"
    ).encode("latin-1")
