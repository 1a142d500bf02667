"""A plugin for pytest: uvicorn's own tests of protocols run with those of the plugin `asgi`.

`pytest -p judges.loop_of_tests -p judges.uvicorn_protocols FOLDER`: both together also have the
host's connections serve what the tests connect to. Tests that make a transport of their own are
given a connection that writes to it.
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from uvicorn.protocols.http import httptools_impl
from uvicorn.protocols.websockets import websockets_sansio_impl

from host.plugins.asgi.client import ClientTransport
from host.plugins.asgi.options import Options
from host.plugins.asgi.protocols import WebSocket, http_of

OPTIONS = Options(app="tests:app")


def pytest_configure() -> None:
    """Have uvicorn's names be the classes of the plugin from now on."""
    for module, name, own in (
        (httptools_impl, "HttpToolsProtocol", http_of(OPTIONS)),
        (websockets_sansio_impl, "WebSocketsSansIOProtocol", WebSocket),
    ):
        # Some tests go by the name of a class.
        setattr(module, name, type(name, (own,), {}))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give what the tests make by themselves what it lacks: transports a connection, loops time."""
    for module in {each.module for each in items if isinstance(each, pytest.Function)}:
        if hasattr(module, "MockTransport"):
            module.MockTransport = _with_connection(module.MockTransport)
            module.MockLoop.time = staticmethod(time.monotonic)
            module.get_connected_protocol = _unwrapping(module.get_connected_protocol)


def _with_connection(base: Any) -> Any:
    """Return a transport of the tests that has a connection, which writes to it."""

    class Transport(base):  # type: ignore[misc]
        connection: Any = None

        def get_extra_info(self, key: str, default: Any = None) -> Any:
            if key != "connection":
                return super().get_extra_info(key)
            self.connection = self.connection or _connection(self)
            return self.connection

        def abort(self) -> None:
            self.close()

        def set_protocol(self, protocol: Any) -> None:
            self.protocol = protocol

        def get_protocol(self) -> Any:
            return self.protocol

    return Transport


def _unwrapping(connected: Any) -> Any:
    """Return a function that also shows the tests their own transport, which they look into."""

    def connect(*args: Any, **options: Any) -> Any:
        protocol = connected(*args, **options)
        if isinstance(protocol.transport, ClientTransport):
            protocol.transport = protocol.transport._transport
        return protocol

    return connect


def _connection(transport: Any) -> Any:
    """Return what the plugin knows of the connection behind a transport of the tests."""
    host, port = transport.peername or (None, None)
    proxy = SimpleNamespace(
        destination="{}:{}".format(*transport.sockname),
        value=lambda _kind: b"\x01" if transport.sslcontext else None,
    )
    return SimpleNamespace(
        origin=SimpleNamespace(host=host, port=port, proxy=proxy, tls=None),
        peer=f"{host}:{port}",
        write=lambda *pieces: transport.write(b"".join(pieces)),
        close=transport.close,
        expire=lambda _seconds: None,
        read=lambda: b"",
    )
