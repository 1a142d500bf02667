"""Becomes a redis-server on a free port of the loopback, with nothing written to disk."""

from __future__ import annotations

import os
import socket


def main() -> None:
    """Find a port and become the server; it says itself when it serves."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    os.execvp("redis-server", ["redis-server", *settings])


if __name__ == "__main__":
    main()
