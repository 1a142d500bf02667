"""What each request was, and what came of it: access lines, and metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from host import Metrics, RequestLog
from host.asyncio import current_connection

_STATUSES = frozenset(
    {101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 406}
    | {408, 409, 410, 411, 412, 413, 415, 416, 421, 422, 429, 431, 500, 501, 502, 503, 504}
)
"""Those that are counted apart."""
_OTHER = "other"


class Request(NamedTuple):
    """A request that is over.

    Attributes:
        scope: what the app was given.
        status: see `Answer`.
        bytes_out: see `Answer`.
        seconds: how long the app has taken.
    """

    scope: Any
    status: int
    bytes_out: int
    seconds: float


class Observed:
    """An app whose requests are told of: HTTP when the app has ended, WebSockets when they have.

    Args:
        app: the app.
        observers: told of each request.
    """

    def __init__(self, app: Any, observers: Sequence[Callable[[Request], object]]) -> None:
        self._app, self._observers = app, observers

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request, and tell of it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        _set_trace(scope["headers"])
        begun, answer = time.monotonic(), Answer(send)
        try:
            await self._app(scope, receive, answer.send)
        finally:
            seconds = time.monotonic() - begun
            request = Request(scope, answer.status, answer.bytes_out, seconds)
            for observe in self._observers:
                observe(request)


def _set_trace(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Have lines of the log about a request tell its trace, if the client has sent one."""
    connection = current_connection()
    assert connection is not None
    found = [value for name, value in headers if name == b"traceparent"]
    try:
        connection.trace = found[0].decode("ascii") if len(found) == 1 else None
    except ValueError:  # anybody may send anything
        connection.trace = None


def logging_to(log: RequestLog) -> Callable[[Request], None]:
    """Return what logs a request, without its query: that may have secrets."""

    def log_request(request: Request) -> None:
        connection, scope = current_connection(), request.scope
        client = scope["client"]
        assert connection is not None
        log(
            connection,
            peer=connection.peer if client is None else _text_of(*client),
            method=scope.get("method", "GET"),
            path=scope["path"],
            status=request.status,
            seconds=request.seconds,
            bytes_out=request.bytes_out,
        )

    return log_request


class RequestMetrics:
    """Counts requests by their status, and how long apps take.

    Args:
        metrics: declares it.
    """

    def __init__(self, metrics: Metrics) -> None:
        labels = {"status": (*map(str, sorted(_STATUSES)), _OTHER)}
        self._requests = metrics.counter(
            "requests", "Requests that apps have answered; a WebSocket is one of 101.", labels
        )
        self._seconds = metrics.histogram(
            "request_seconds", "How long apps have taken for a request.", start=0.001, count=15
        )

    def count(self, request: Request) -> None:
        """Count a request; the time of a WebSocket is no time of an answer."""
        status = request.status
        self._requests.add(1, str(status) if status in _STATUSES else _OTHER)
        if request.scope["type"] == "http":
            self._seconds.observe(request.seconds)


class Answer:
    """Passes on what an app sends, and notes what it was.

    Attributes:
        status: that of the response; 101 for a WebSocket that was accepted, 403 for one that was
            not, 500 for an app that has not answered.
        bytes_out: the bytes of the body, or of the messages.
    """

    def __init__(self, send: Any) -> None:
        self._send = send
        self.status, self.bytes_out = 500, 0

    async def send(self, message: Any) -> None:
        """Pass on what the app sends."""
        match message["type"]:
            case "http.response.body" | "websocket.http.response.body":
                self.bytes_out += len(message.get("body", b""))
            case "http.response.start" | "websocket.http.response.start":
                self.status = message["status"]
            case "websocket.send":
                self.bytes_out += len(message.get("bytes") or message.get("text", "").encode())
            case "websocket.accept":
                self.status = 101
            case "websocket.close" if self.status != 101:
                self.status = 403
        await self._send(message)


def _text_of(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port}" if port else host
