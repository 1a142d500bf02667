"""Sends and receives at the same time in one thread: an SSLSocket of Python 3.11 is not for two."""

from __future__ import annotations

import select
import ssl
from contextlib import suppress

from host.testing.machine import Stopwatch, patience

SECONDS = 60.0
_PIECE = 16_384


def send_until_held(client: ssl.SSLSocket, data: bytes) -> bytes:
    """Send until the peer takes no more for a while; return what is left."""
    client.setblocking(False)
    while data:
        try:
            data = data[client.send(data[:_PIECE]) :]
        except ssl.SSLWantWriteError:
            if not select.select([], [client], [], patience(0.5))[1]:
                break
    return data


def exchanged(client: ssl.SSLSocket, data: bytes, size: int) -> bytes:
    """Send, and return so many bytes that come meanwhile."""
    found, watch = bytearray(), Stopwatch()
    client.setblocking(False)
    while len(found) < size:
        assert not watch.has_passed(SECONDS), f"{len(found)} of {size} bytes came"
        with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            data = data[client.send(data[:_PIECE]) :] if data else data
        with suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
            found += client.recv(size - len(found))
    return bytes(found)
