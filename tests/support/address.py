"""Addresses as the host writes them, in the form in which sockets take them."""

from __future__ import annotations

import socket

from support.machine import patience


def parse(address: str) -> tuple[int, tuple[str, int] | str]:
    """Return the family and the socket address of `tcp://…` or `unix:…`."""
    if address.startswith("unix:"):
        return socket.AF_UNIX, address.removeprefix("unix:")
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    return family, (host.strip("[]"), int(port))


def connect(address: str, timeout: float = 10.0) -> socket.socket:
    """Connect; every call on the socket gives up after `timeout` seconds of an idle machine."""
    family, target = parse(address)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(patience(timeout))
        sock.connect(target)
    except BaseException:
        sock.close()
        raise
    return sock
