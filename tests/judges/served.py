"""An event loop whose servers are served as the host serves: by its connections and transports.

Tests of others make servers of their own, on ports of their own. Here such a server accepts by
itself, as a plain loop has it, and hands what it has accepted to the host's code.
"""

from __future__ import annotations

import itertools
import logging
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from host.asyncio import AsyncioProtocol, HostEventLoop
from host.asyncio.capture import over_tls
from host.interfaces import CloseReason, Listener
from host.runtime.loop import Loop
from host.settings import ConnectionLimits
from host.worker.connection import SocketConnection
from host.worker.context import ListenerContext, OpenConnections

SERIALS = itertools.count(1)
COUNTED = 0
"""How many connections were served so."""


class _Plugin(AsyncioProtocol):
    """A plugin that has begun, for one server."""

    def __init__(self, loop: HostEventLoop, factory: Callable[[], Any]) -> None:
        self._loop, self._factories = loop, {None: factory}


class ServedLoop(HostEventLoop):
    """The host's event loop, which serves servers of its own by the host's connections."""

    def __init__(self, _selector: object = None) -> None:
        self._own = Loop()
        super().__init__(self._own)
        self.connections = OpenConnections()
        self._own.on_turn_end, self._is_serving = self._turn_is_over, True
        self._end_turn = self._follow_up

    def close(self) -> None:
        """Close the host's loop, too."""
        closed = self.is_closed()
        super().close()
        if not closed:
            for connection in tuple(self.connections.open):
                connection.close_in_fork()
            self._own.close()

    def finish_turn(self) -> None:
        """End a turn, also in the processes that tests fork, which go on."""
        if self._is_turn_open:
            self._is_turn_open = False
            self._follow_up()

    def _follow_up(self) -> None:
        for connection in self.connections.touched:
            connection.follow_up()
        self.connections.touched.clear()

    async def _accept_connection2(
        self,
        protocol_factory: Callable[[], Any],
        conn: socket.socket,
        extra: dict[str, Any],
        sslcontext: Any = None,
        server: Any = None,
        *timeouts: float | None,
    ) -> None:
        """Serve what was accepted, as the host does."""
        global COUNTED  # noqa: PLW0603  (both kinds of runner read it)
        COUNTED += 1
        factory = protocol_factory
        if sslcontext is not None:
            names = ("ssl_handshake_timeout", "ssl_shutdown_timeout")
            factory = over_tls(factory, sslcontext, dict(zip(names, timeouts, strict=False)))
        context = self._context(_Plugin(self, factory), server)
        connection = SocketConnection(conn.detach(), extra["peername"], next(SERIALS), context)
        connection.watch()
        self.connections.open.add(connection)
        counts = hasattr(server, "_active_count")  # up to Python 3.12; then it knows transports
        if counts:
            server._attach()
        connection.begin()
        if not counts:
            server._attach(connection.data)

    def _context(self, plugin: AsyncioProtocol, server: Any) -> ListenerContext:
        """Return what a connection needs of its listener."""

        def on_accept(connection: SocketConnection) -> bool:
            try:
                plugin.on_accept(connection)
            except Exception:
                logging.getLogger("asyncio").exception("a connection cannot begin")
                return False
            return True

        def on_end(connection: SocketConnection, _reason: CloseReason) -> None:
            self.connections.open.discard(connection)
            server._detach(*(() if hasattr(server, "_active_count") else (connection.data,)))

        def report(_plugin: str, hook: str, error: BaseException, _args: object) -> None:
            self.call_exception_handler({"message": f"{hook} failed", "exception": error})

        return ListenerContext(
            Listener(0, "tcp://127.0.0.1:0", "test"),
            worker=SimpleNamespace(pid=1, slot=0),  # type: ignore[arg-type]
            loop=self._own,
            on_accept=on_accept,
            on_readable=plugin.on_readable,
            on_close=plugin.on_close,
            on_drain=plugin.on_drain,
            blame=repr,
            report=report,
            on_end=on_end,
            limits=ConnectionLimits(),
            connections=self.connections,
        )
