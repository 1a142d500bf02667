"""One client of `whoami`, `faulty` or an answerer, in the test's own process."""

from __future__ import annotations

import socket


def answerer(number: int = 1) -> str:
    """Return the source of a plugin that answers with slot, pid, this number and the word."""
    return f"""
from host import hookimpl

@hookimpl
def on_readable(connection):
    word = connection.read().strip().decode()
    worker = connection.worker
    if word:
        connection.write(f"{{worker.slot}} {{worker.pid}} {number} {{word}}\\n".encode())
"""


def ask(sock: socket.socket, word: bytes = b"hello") -> list[int]:
    """Exchange one line; return slot, pid and number of connections of the worker that serves."""
    sock.sendall(word + b"\n")
    received = b""
    while not received.endswith(b"\n"):
        data = sock.recv(4096)
        assert data, f"end of file after {received!r}"
        received += data
    *fields, last = received.split()
    assert last == word, received
    return [int(field) for field in fields]


def poison(sock: socket.socket) -> tuple[int, int]:
    """Make `faulty` misbehave in on_readable; return slot and pid of the worker that does."""
    sock.sendall(b"poison\n")
    slot, pid = map(int, sock.recv(100).split())
    return slot, pid
