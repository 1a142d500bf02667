"""What uvicorn's protocols read: its settings, made of the options of the plugin."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal

from uvicorn.config import Config

from host.plugins.asgi.access import Observed, Request
from host.plugins.asgi.application import Limited
from host.plugins.asgi.options import Options
from host.plugins.asgi.protocols import WebSocket, http_of


class Configuration(Config):
    """uvicorn's settings, with an app that was imported already."""

    def load_app(self) -> Any:
        """Return what returns the app."""
        return lambda: self.app


def configure(
    app: Any,
    interface: Literal["asgi2", "asgi3"],
    options: Options,
    observers: Sequence[Callable[[Request], object]],
) -> Config:
    """Return what uvicorn's protocols read, with the app as they call it.

    Args:
        app: the app.
        interface: the version of ASGI that it speaks.
        options: those of the plugin.
        observers: told of each request.
    """
    ping = options.ping_seconds or None
    config = Configuration(
        app,
        factory=True,
        interface=interface,
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
    if observers:
        config.loaded_app = Observed(config.loaded_app, observers)
    return config
