"""Headers of the PROXY protocol, as a proxy sends them before what its client says."""

from __future__ import annotations

import socket
import struct
from typing import Literal

Version = Literal["v1", "v2"]

CLIENT = ("192.0.2.7", 50_211)
"""The client that a header names, unless a test names another one (RFC 5737: for examples)."""
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_PROXY_COMMAND = 0x21
_STREAM_INET, _STREAM_INET6 = 0x11, 0x21
_SERVER_PORT = 443


def check_version(version: str) -> None:
    """Refuse what is no version of the protocol.

    Raises:
        ValueError: it is none.
    """
    if version not in ("v1", "v2"):
        raise ValueError(f'proxy is "v1" or "v2", the version of the header, and not {version!r}')


def header(version: Version, client: tuple[str, int] = CLIENT) -> bytes:
    """Return a header as HAProxy sends it ("The PROXY protocol", 2.1 and 2.2).

    Args:
        version: that of the protocol.
        client: the IP address and the port of the client that it names.

    Raises:
        ValueError: there is no such version, or the address is no IP address.
    """
    check_version(version)
    host, port = client
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = "2001:db8::1" if ":" in host else "192.0.2.1"
    try:
        hosts = socket.inet_pton(family, host) + socket.inet_pton(family, server)
    except OSError as error:
        raise ValueError(f"the client of a proxy has an IP address, and not {host!r}") from error
    if version == "v1":
        kind = "TCP6" if family == socket.AF_INET6 else "TCP4"
        return f"PROXY {kind} {host} {server} {port} {_SERVER_PORT}\r\n".encode("ascii")
    kind_byte = _STREAM_INET6 if family == socket.AF_INET6 else _STREAM_INET
    addresses = hosts + struct.pack("!HH", port, _SERVER_PORT)
    return _SIGNATURE + struct.pack("!BBH", _PROXY_COMMAND, kind_byte, len(addresses)) + addresses
