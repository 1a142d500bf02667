"""How the clients of a test's host come in: as they are, over TLS, or handed on by a proxy."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from host.settings import address
from host.testing.proxy_header import CLIENT, Version, check_version, header

_LOOPBACK = ["127.0.0.0/8", "::1"]


@dataclass(frozen=True)
class Entry:
    """What the listeners of a host want of clients, and what clients do for it.

    Attributes:
        certificate: the files of the host's certificate and of its key; None for no TLS.
        proxy: the version of the header that proxies send first; None for no proxy.
        context: what clients use for TLS; it trusts that certificate alone. None for no TLS.
    """

    certificate: tuple[Path, Path] | None = None
    proxy: Version | None = None
    context: ssl.SSLContext | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Make the context.

        Raises:
            ValueError: there is no such version.
        """
        if self.proxy is not None:
            check_version(self.proxy)
        if self.certificate is not None:
            made = ssl.create_default_context(cafile=self.certificate[0])
            object.__setattr__(self, "context", made)

    def settings(self, listen: Sequence[str]) -> dict[str, object]:
        """Return settings, by their dotted names, for listeners that let clients in this way.

        Args:
            listen: their addresses, as with `--listen`. UDP stays as it is.
        """
        found: dict[str, object] = {}
        if listen:
            found["listen"] = [self._listener(text) for text in listen]
        if self.certificate is not None:
            certificate, key = map(str, self.certificate)
            found["tls.tests.certificates"] = [{"certificate": certificate, "key": key}]
        return found

    def introduce(self, sock: socket.socket, client: tuple[str, int] = CLIENT) -> None:
        """Say over a connected socket whom a proxy names, if there is one."""
        if self.proxy is not None:
            sock.sendall(header(self.proxy, client))

    def begin(self, sock: socket.socket, client: tuple[str, int] = CLIENT) -> socket.socket:
        """Return what to talk over to a host.

        Args:
            sock: a connected socket, which belongs to the returned one from then on.
            client: whom the proxy names.

        Raises:
            OSError: the handshake fails (`ssl.SSLError`); the socket is closed then.
        """
        try:
            self.introduce(sock, client)
            if self.context is not None:
                return self.context.wrap_socket(sock, server_hostname="localhost")
        except BaseException:
            sock.close()
            raise
        return sock

    def _listener(self, text: str) -> dict[str, object]:
        """Return a listener as settings have it."""
        place, plugin = address.split(text)
        found: dict[str, object] = {"address": place}
        if plugin is not None:
            found["plugin"] = plugin
        if place.startswith("udp:"):
            return found
        if self.certificate is not None:
            found["tls"] = "tests"
        if self.proxy is not None:
            found["proxy"] = self.proxy
            found["proxy_from"] = ["unix"] if place.startswith("unix:") else _LOOPBACK
        return found


PLAIN = Entry()
"""Clients come as they are."""
