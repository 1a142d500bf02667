"""Access lines: what each request was, and what came of it."""

from __future__ import annotations

import time
from typing import Any

from host import RequestLog
from host.asyncio import current_connection


class Logged:
    """An app whose requests are logged: HTTP when the app has ended, WebSockets when they have.

    The query is left out: it may have secrets.

    Args:
        app: the app.
        log: writes a line.
    """

    def __init__(self, app: Any, log: RequestLog) -> None:
        self._app, self._log = app, log

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle a request, and log it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        begun, answer = time.monotonic(), Answer(send)
        try:
            await self._app(scope, receive, answer.send)
        finally:
            connection, client = current_connection(), scope["client"]
            assert connection is not None
            self._log(
                connection,
                peer=connection.peer if client is None else _text_of(*client),
                method=scope.get("method", "GET"),
                path=scope["path"],
                status=answer.status,
                seconds=time.monotonic() - begun,
                bytes_out=answer.bytes_out,
            )


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
