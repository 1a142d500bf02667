"""Protocols of asyncio, unchanged: serve them with the host's connections.

- `serve`: a plugin of one line, for a protocol or a coroutine.
- `AsyncioProtocol`: the base of a plugin that begins and ends things of its own.
- `HostTransport`: the transport that such a protocol is given.
- `ListeningSocket`: a listening socket of the host, as libraries look at one.
- `current_connection`: the connection that a task serves.
"""

from host.asyncio.current import current_connection
from host.asyncio.event_loop import HostEventLoop
from host.asyncio.listening import ListeningSocket
from host.asyncio.plugin import AsyncioProtocol, serve
from host.asyncio.transport import HostTransport

__all__ = [
    "AsyncioProtocol",
    "HostEventLoop",
    "HostTransport",
    "ListeningSocket",
    "current_connection",
    "serve",
]
