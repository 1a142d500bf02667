"""What is known of the client of a fake connection, as tests say it."""

from __future__ import annotations

from dataclasses import replace

from host.interfaces import ConnectionOrigin, ProxyHeader, TlsInfo
from host.net.sockets import origin
from host.testing.proxy_header import Version, check_version

Address = tuple[str, int] | str | ConnectionOrigin
"""A client: its IP address and port; a text for a Unix socket; or all that is known of it."""

AGREED = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", None, "localhost", False, None)
"""What a client of `host_server` agrees on with its host, and any client of a fake connection."""
_PROXY_PEER, _SERVER = "127.0.0.1:4000", "192.0.2.1:443"
_NO_DESCRIPTOR = -1


def origin_of(
    address: Address, tls: bool | TlsInfo, proxy: Version | ProxyHeader | None
) -> Address:
    """Return what is known of a client.

    Args:
        address: the client's address.
        tls: what was agreed on with it; True for what is usual.
        proxy: what a proxy has said of it, or the version in which it has named this address.

    Raises:
        ValueError: there is no such version.
    """
    if isinstance(proxy, str):
        check_version(proxy)
    if not tls and proxy is None:
        return address
    found = address if isinstance(address, ConnectionOrigin) else origin(address, _NO_DESCRIPTOR)
    if tls:
        found = replace(found, tls=AGREED if tls is True else tls)
    if isinstance(proxy, str):
        proxy = ProxyHeader(int(proxy[1]), False, _PROXY_PEER, found.peer, _SERVER)
    return found if proxy is None else replace(found, proxy=proxy)
