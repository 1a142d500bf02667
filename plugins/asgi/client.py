"""What an app is told of its client: `client`, `server` and `scheme` of its scope."""

from __future__ import annotations

import asyncio
from typing import Any

from host import Connection, ConnectionOrigin

_TLV_SSL, _CLIENT_SSL = 0x20, 0x01
"""PP2_TYPE_SSL, and the bit of its first byte that tells of TLS (PROXY protocol, 2.2.6)."""


class ClientTransport:
    """A transport of the host, as uvicorn asks it for addresses.

    Behind a proxy that names the client, they are those that the client has connected from and to,
    and the scheme is the client's own.

    Args:
        transport: the transport.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.connection: Connection = transport.get_extra_info("connection")
        # Nothing is between uvicorn and the host when it writes.
        self.write = self.connection.write
        self.close = self.connection.close
        self.abort = transport.abort
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading
        self.set_protocol, self.get_protocol = transport.set_protocol, transport.get_protocol
        self.is_closing = transport.is_closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the client, as uvicorn reads it."""
        origin = self.connection.origin
        match name:
            case "socket":  # its addresses would be those of the proxy
                return None
            case "peername":
                return None if origin.host is None else (origin.host, origin.port)
            case "sockname":
                return self._server(origin)
            case "sslcontext":  # asked for only to tell the scheme
                return is_secure(origin) or None
        return self._transport.get_extra_info(name, default)

    def _server(self, origin: ConnectionOrigin) -> Any:
        """Return the address that the client has connected to."""
        proxy = origin.proxy
        if proxy is not None and proxy.destination is not None:
            return _host_and_port(proxy.destination) or proxy.destination
        scheme, _, address = self.connection.listener.address.partition(":")
        if scheme == "unix":
            return address
        bound = _host_and_port(address.removeprefix("//"))
        if bound is not None and bound[0] not in ("0.0.0.0", "::"):
            return bound
        name = self._transport.get_extra_info("sockname")
        return name[:2] if isinstance(name, tuple) else name


def is_secure(origin: ConnectionOrigin) -> bool:
    """Tell whether the client speaks TLS, with the host or with the proxy that says so."""
    if origin.tls is not None:
        return True
    if origin.proxy is None:
        return False
    said = origin.proxy.value(_TLV_SSL)
    return bool(said and said[0] & _CLIENT_SSL)


def _host_and_port(address: str) -> tuple[str, int] | None:
    """Return the parts of `127.0.0.1:80` or `[::1]:80`."""
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() else None
