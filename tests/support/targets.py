"""Addresses as the host writes them, in the form in which sockets take them."""

from __future__ import annotations

import socket


def parse(address: str) -> tuple[int, tuple[str, int] | str]:
    """Return the family and the socket address of `tcp://…` or `unix:…`."""
    if address.startswith("unix:"):
        return socket.AF_UNIX, address.removeprefix("unix:")
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    return family, (host.strip("[]"), int(port))
