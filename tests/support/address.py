"""Sockets that are connected to a host, by its address."""

from __future__ import annotations

import socket

from host.testing.machine import patience
from support.targets import parse


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
