"""Serves an ASGI app: HTTP/1.1 and WebSockets by uvicorn's protocols, on the host's connections."""

from __future__ import annotations

import asyncio
import logging
from email.utils import formatdate
from typing import Any

from host import PluginError, Worker
from host.asyncio import AsyncioProtocol
from host.plugins.asgi.options import Options

try:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from host.plugins.asgi.access import Logged
    from host.plugins.asgi.application import Lifespan, Limited, find
    from host.plugins.asgi.protocols import WebSocket, http_of
except ModuleNotFoundError as error:
    raise PluginError(
        "asgi",
        f'there is no module "{error.name}"',
        hint="Install what the plugin needs: pip install 'prefork[asgi]'.",
    ) from None


class Configuration(Config):
    """uvicorn's settings, with an app that was imported already."""

    def load_app(self) -> Any:
        """Return what returns the app."""
        return lambda: self.app


class Asgi(AsyncioProtocol):
    """The protocol plugin."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._found = find(options.app, options.app_folder)
        self._lifespan: Lifespan | None = None
        self._state = ServerState()
        self._config: Configuration

    async def start(self, worker: Worker) -> None:
        """Make the app ready, and tell it so."""
        options = self._options
        app = self._found() if options.factory else self._found
        self._config = config = self._configure(app)
        if worker.log_request is not None:
            config.loaded_app = Logged(config.loaded_app, worker.log_request)
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

    def _configure(self, app: Any) -> Configuration:
        """Return what uvicorn's protocols read, with the app as they call it."""
        options = self._options
        ping = options.ping_seconds or None
        config = Configuration(
            app,
            factory=True,
            loop="none",
            http=http_of(options),
            ws=WebSocket if options.websockets else "none",
            ws_max_size=options.max_message_bytes,
            ws_ping_interval=ping,
            ws_ping_timeout=ping,
            lifespan=options.lifespan,
            log_config=None,
            log_level=logging.ERROR,  # what clients send that is wrong is no news
            access_log=False,
            proxy_headers=bool(options.forwarded_allow_ips),
            forwarded_allow_ips=list(options.forwarded_allow_ips),
            root_path=options.root_path,
            timeout_keep_alive=options.keep_alive_seconds,
            server_header=False,
            headers=[("server", "prefork")] if options.server_header else [],
        )
        config.load()
        if options.max_requests_in_progress:
            config.loaded_app = Limited(config.loaded_app, options.max_requests_in_progress)
        return config

    def _renew_headers(self) -> None:
        """Make the headers that all responses have, with the time of day."""
        headers = list(self._config.encoded_headers)
        if self._options.date_header:
            headers.insert(0, (b"date", formatdate(usegmt=True).encode()))
        self._state.default_headers = headers
