"""Serves an ASGI app: HTTP/1.1 and WebSockets by uvicorn's protocols, on the host's connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from host import Host, PluginError, Worker, hookimpl
from host.asyncio import AsyncioProtocol
from host.plugins.asgi.options import Options

try:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from host.plugins.asgi.access import Request, RequestMetrics, logging_to
    from host.plugins.asgi.application import Lifespan, check_factory, find, interface_of
    from host.plugins.asgi.configuration import configure

    _MISSING = ""
except ModuleNotFoundError as error:  # of whoever has not the extra, and need not select the plugin
    _MISSING = error.name or "uvicorn"


class Asgi(AsyncioProtocol):
    """The protocol plugin."""

    def __init__(self, options: Options) -> None:
        if _MISSING:
            raise PluginError(
                "asgi",
                f'there is no module "{_MISSING}"',
                hint="Install what the plugin needs: pip install 'prefork[asgi]'.",
            )
        self._options = options
        self._found = find(options.app, options.app_folder)
        (check_factory if options.factory else interface_of)(self._found, options.app)
        self._lifespan: Lifespan | None = None
        self._state = ServerState()
        self._config: Config
        self._metrics: RequestMetrics | None = None

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        """Declare what is counted, if anybody can see it: that costs each request something."""
        if host.metrics.is_shown:
            self._metrics = RequestMetrics(host.metrics)

    async def start(self, worker: Worker) -> None:
        """Make the app ready, and tell it so."""
        options = self._options
        app, name = self._found, options.app
        if options.factory:
            app, name = app(), f"what {name} has made"
        observers: list[Callable[[Request], object]] = []
        if worker.log_request is not None:
            observers.append(logging_to(worker.log_request))
        if self._metrics is not None:
            observers.append(self._metrics.count)
        self._config = config = configure(app, interface_of(app, name), options, observers)
        if options.lifespan != "off":
            self._lifespan = Lifespan(config)
            await self._lifespan.begin()
        self._renew_headers()
        if options.date_header:
            worker.call_every(1.0, self._renew_headers)

    async def stop(self, worker: Worker) -> None:
        """Wait for the requests whose clients have gone, then tell the app of the end."""
        if self._state.tasks:
            await asyncio.wait(set(self._state.tasks))
        if self._lifespan is not None:
            await self._lifespan.shutdown()

    def factory(self) -> asyncio.BaseProtocol:
        """Make the protocol of a connection."""
        state = {} if self._lifespan is None else self._lifespan.state
        make: Any = self._config.http_protocol_class
        return make(self._config, self._state, state, self._loop)  # type: ignore[no-any-return]

    def drain(self, protocol: Any, transport: asyncio.Transport, deadline: float) -> None:
        """Say goodbye: by the last response, or by closing a WebSocket with 1001."""
        protocol.leave(deadline)

    def _renew_headers(self) -> None:
        """Make the headers that all responses have, with the time of day."""
        headers = list(self._config.encoded_headers)
        if self._options.date_header:
            headers.insert(0, (b"date", formatdate(usegmt=True).encode()))
        self._state.default_headers = headers
