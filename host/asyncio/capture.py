"""Servers that a library makes, whose connections the host accepts."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Final

from host.asyncio.listening import ListeningSocket

PREFORK: Final = "prefork"
"""The name of the host that stands for the listeners of a plugin."""

Factory = Callable[[], asyncio.BaseProtocol]

_OF_SOCKETS = {"port", "family", "flags", "sock", "backlog", "reuse_address", "reuse_port"} | {
    "keep_alive",
    "start_serving",
}
"""What concerns listening sockets, which are the host's."""
_OF_TLS = {"ssl_handshake_timeout", "ssl_shutdown_timeout"}


class Capture:
    """What a plugin's method `start` asks to have served.

    Args:
        sockets: the listening sockets of the plugin.

    Attributes:
        over: whether `start` has returned: what it has begun cannot ask for more.
        factories: what makes the protocols of connections, by the number of their listener; with
            the key None what does so for all listeners.
    """

    def __init__(self, sockets: Sequence[ListeningSocket] = ()) -> None:
        self.sockets = tuple(sockets)
        self.over = False
        self.factories: dict[int | None, Factory] = {}

    def take(
        self, factory: Factory, options: Mapping[str, Any], loop: asyncio.AbstractEventLoop
    ) -> CapturedServer:
        """Serve with `factory`: the listener of the argument `sock`, all listeners without it.

        Args:
            factory: makes protocols.
            options: the arguments of `create_server`.
            loop: the event loop.

        Raises:
            RuntimeError: something serves them already.
            TypeError: no such argument.
        """
        sock, context = options.get("sock"), options.get("ssl")
        if unknown := options.keys() - _OF_SOCKETS - _OF_TLS - {"ssl"}:
            raise TypeError(f"create_server() got an unexpected argument {sorted(unknown)[0]!r}")
        if context is not None and not isinstance(context, ssl.SSLContext):
            raise TypeError("ssl argument must be an SSLContext or None")
        sockets = self.sockets if sock is None else self._matching(sock)
        key = None if sock is None else sockets[0].listener.index
        if key in self.factories or (self.factories and None in {key, *self.factories}):
            what = f'host="{PREFORK}"' if sock is None else f"sock={sockets[0]!r}"
            raise RuntimeError(
                f"create_server({what}) was called twice: a plugin serves each of its listeners "
                "with one protocol"
            )
        timeouts = {name: options[name] for name in _OF_TLS if name in options}
        self.factories[key] = factory if context is None else over_tls(factory, context, timeouts)
        return CapturedServer(loop, sockets)

    def _matching(self, sock: Any) -> tuple[ListeningSocket, ...]:
        """Return the listening socket of the plugin that `sock` stands for."""
        for each in self.sockets:
            if each.is_same(sock):
                return (each,)
        raise RuntimeError(
            f"create_server(sock={sock!r}): this listener is served by another plugin"
        )

    def check_complete(self) -> None:
        """Check that each listener is served, if any is.

        Raises:
            RuntimeError: one is not.
        """
        if self.factories and None not in self.factories:
            for each in self.sockets:
                if each.listener.index not in self.factories:
                    raise RuntimeError(
                        f"nothing serves {each.listener.address}: call create_server(sock=…) for "
                        "each of the plugin's listening_sockets"
                    )


def over_tls(
    factory: Factory,
    context: ssl.SSLContext,
    timeouts: Mapping[str, Any] | None = None,
) -> Factory:
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

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sockets: tuple[ListeningSocket, ...]
    ) -> None:
        self._loop, self._sockets = loop, sockets
        self._closed = loop.create_future()

    @property
    def sockets(self) -> tuple[ListeningSocket, ...]:
        """The listening sockets that are served, to look at; none once it is closed."""
        return self._sockets if self.is_serving() else ()

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
