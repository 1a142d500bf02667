"""Servers that a library makes, whose connections the host accepts."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final

PREFORK: Final = "prefork"
"""The name of the host that stands for the listeners of a plugin."""

_OF_SOCKETS = {"port", "family", "flags", "sock", "backlog", "reuse_address", "reuse_port"} | {
    "keep_alive",
    "start_serving",
}
"""What concerns listening sockets, which are the host's."""
_OF_TLS = {"ssl_handshake_timeout", "ssl_shutdown_timeout"}


class Capture:
    """What a plugin's method `start` asks to have served.

    Attributes:
        factory: makes the protocol of each connection; None as long as nothing was asked for.
        server: what the library was given.
    """

    def __init__(self) -> None:
        self.factory: Callable[[], asyncio.BaseProtocol] | None = None
        self.server: CapturedServer | None = None

    def take(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        options: Mapping[str, Any],
        server: CapturedServer,
    ) -> None:
        """Serve with `factory`.

        Args:
            factory: makes protocols.
            options: the arguments of `create_server`.
            server: what the library is given.

        Raises:
            RuntimeError: there is one already.
            TypeError: no such argument.
        """
        if self.factory is not None:
            raise RuntimeError(
                f'create_server(host="{PREFORK}") was called twice: a plugin serves its listeners '
                "with one protocol"
            )
        context = options.get("ssl")
        if unknown := options.keys() - _OF_SOCKETS - _OF_TLS - {"ssl"}:
            raise TypeError(f"create_server() got an unexpected argument {sorted(unknown)[0]!r}")
        if context is not None and not isinstance(context, ssl.SSLContext):
            raise TypeError("ssl argument must be an SSLContext or None")
        self.server = server
        timeouts = {name: options[name] for name in _OF_TLS if name in options}
        self.factory = factory if context is None else over_tls(factory, context, timeouts)


def over_tls(
    factory: Callable[[], asyncio.BaseProtocol],
    context: ssl.SSLContext,
    timeouts: Mapping[str, Any] | None = None,
) -> Callable[[], asyncio.BaseProtocol]:
    """Return a factory of the same protocols behind asyncio's own TLS.

    Args:
        factory: makes protocols; it is called when the connection begins.
        context: with the certificate.
        timeouts: `ssl_handshake_timeout` and `ssl_shutdown_timeout`, in seconds.
    """

    def make() -> asyncio.BaseProtocol:
        loop = asyncio.get_running_loop()
        return asyncio.sslproto.SSLProtocol(  # type: ignore[attr-defined, no-any-return]
            loop, factory(), context, None, server_side=True, **(timeouts or {})
        )

    return make


class CapturedServer(asyncio.AbstractServer):
    """A server whose listening sockets are the host's; what a library closes is its own part.

    After `close` connections that are open go on, as with asyncio's own server.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._closed = loop.create_future()

    @property
    def sockets(self) -> tuple[asyncio.trsock.TransportSocket, ...]:  # type: ignore[name-defined]
        """Nothing: the listening sockets are the host's."""
        return ()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop."""
        return self._loop

    def is_serving(self) -> bool:
        """Tell whether it was not closed yet."""
        return not self._closed.done()

    def close(self) -> None:
        """Note that the library has ended."""
        if not self._closed.done():
            self._closed.set_result(None)

    def close_clients(self) -> None:
        """Do nothing: connections end as the host drains."""

    def abort_clients(self) -> None:
        """Do nothing: connections end as the host drains."""

    async def start_serving(self) -> None:
        """Do nothing: the host begins when the worker is ready."""

    async def serve_forever(self) -> None:
        """Wait until the server is closed."""
        await asyncio.shield(self._closed)

    async def wait_closed(self) -> None:
        """Wait until the server is closed."""
        await asyncio.shield(self._closed)


CAPTURING: ContextVar[Capture | None] = ContextVar("prefork capture", default=None)
"""What the method `start` that runs in this context asks for."""
