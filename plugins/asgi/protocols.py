"""uvicorn's protocols, with the host's limits, and a goodbye that loses no request."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from host.plugins.asgi.client import ClientTransport
from host.plugins.asgi.options import Options

_QUIET_SECONDS = 1.0
"""As long as nothing has come for this time, a request may be on its way: a client that sends one
just as its connection is closed cannot know whether it was carried out (RFC 9112, 9.6)."""
_LAST_SECONDS = 0.2
"""So long before the deadline what is still idle is closed in any case."""
_PATH_BYTES = 100
"""How much of a path can be of use to whoever looks at a connection."""
_GOING_AWAY = 1001
"""The code of a WebSocket that is closed since its server goes away (RFC 6455, 7.4.1)."""


class Http(HttpToolsProtocol):
    """HTTP/1.1 on one connection.

    Attributes:
        options: those of the plugin; set in a subclass, since uvicorn makes the instances.
    """

    options: Options
    transport: Any  # a ClientTransport

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._unparsed = 0  # bytes since the parser has last got to the end of anything
        self._is_leaving = self._is_timed = False
        self._begun = self.loop.time()

    def connection_made(self, transport: Any) -> None:
        """Begin, and wait for the first request."""
        transport = ClientTransport(transport)
        super().connection_made(transport)
        transport.connection.expire(self.options.request_head_seconds)
        self._is_timed = True

    def data_received(self, data: bytes) -> None:
        """Have what has arrived parsed."""
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed:
            self._look_at_rest()
        elif self._is_timed:
            self._is_timed = False
            self.transport.connection.expire(None)

    def on_message_begin(self) -> None:
        """Begin with a request."""
        self._unparsed = self._unparsed or 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Call the app."""
        self._unparsed = 0
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is before:
            return  # it becomes a WebSocket
        if not self.parser.should_upgrade():
            self.headers = []  # what comes after the body, which nobody reads (RFC 9112, 7.1.2)
        if self._is_leaving:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Hand on a part of the body."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._unparsed = 0
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Go on as a WebSocket, unless the worker is about to go away."""
        self._unparsed = 0
        if self._is_leaving:
            self.refuse(503, "This worker is going away")
            return
        if self._is_busy():  # answers come in order (RFC 9112, 9.3.2): so it gets none
            self.cycle.keep_alive = False
            self.data_received = self._ignore  # type: ignore[method-assign]
            self.transport.set_protocol(self)
            return
        super().handle_websocket_upgrade()
        if self.transport.is_closing():
            return
        websocket = self.transport.get_protocol()
        if websocket.handshake_initiated:
            self.transport.connection.doing = f"WebSocket {_path(websocket.scope)}"
        else:  # it would wait for ever
            self.refuse(400, "This is no handshake of a WebSocket")

    def _ignore(self, data: bytes) -> None:
        """Leave out what comes after the last request that is answered."""

    def refuse(self, status: int, text: str) -> None:
        """Answer what is no request to the app, and close."""
        self._unparsed = 0
        head = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
        body = text.encode()
        length = b"content-length: %d\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status], head, length, body)
        self.transport.close()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Call the app for a request, and say which one that is."""
        scope = cycle.scope
        self.transport.connection.doing = f"{scope['method']} {_path(scope)}"
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """Go on with the next request, if it is there."""
        self.transport.connection.doing = ""
        super().on_response_complete()

    def leave(self, deadline: float) -> None:
        """Close when no request is under way, nor likely to be on its way.

        The next response says that it is the last one.

        Args:
            deadline: when the host closes the connection in any case, in seconds of the loop.
        """
        self._is_leaving = True
        if self._is_busy():
            self.cycle.keep_alive = False
            return
        now, timer = self.loop.time(), self.timeout_keep_alive_task
        used = self._begun if timer is None else timer.when() - self.timeout_keep_alive
        until = min(used + _QUIET_SECONDS, deadline - _LAST_SECONDS)
        if now < until:
            self.loop.call_at(until, self._close_if_idle)
        else:
            self._close_if_idle()

    def _close_if_idle(self) -> None:
        """Close, unless a request has come."""
        if self.transport.is_closing() or self._is_busy():
            return
        data = self.transport.connection.read()
        if data:
            self.data_received(data)
        if not self._is_busy():
            self.transport.close()

    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _look_at_rest(self) -> None:
        """See that a head, or what comes after a body, is neither too long nor too slow."""
        if self.transport.is_closing():
            return
        if self._unparsed > self.options.max_head_bytes:
            if self._is_busy():
                self.transport.abort()
            else:
                self.refuse(431, "The head of the request is too long")
        elif not self._is_timed:
            self._is_timed = True
            self.transport.connection.expire(self.options.request_head_seconds)


class WebSocket(WebSocketsSansIOProtocol):
    """A WebSocket on one connection."""

    transport: Any  # a ClientTransport

    def leave(self, deadline: float) -> None:
        """Close with the code 1001, and wait for the client's answer to that.

        Args:
            deadline: when the host closes the connection in any case, in seconds of the loop.
        """
        if self.close_sent:
            return
        if not self.handshake_complete:
            self.shutdown()
            return
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": _GOING_AWAY})
        self.conn.send_close(_GOING_AWAY)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        until = min(self.loop.time() + self.close_timeout, deadline - _LAST_SECONDS)
        self.close_timer = self.loop.call_at(until, self.transport.close)


def _path(scope: Any) -> str:
    """Return the path of a request as it has come, without the query: that may have secrets."""
    return scope["raw_path"][:_PATH_BYTES].decode("ascii", "backslashreplace")  # type: ignore[no-any-return]


def http_of(options: Options) -> type[asyncio.Protocol]:
    """Return the class of protocols that has these options."""
    return type("Http", (Http,), {"options": options})
