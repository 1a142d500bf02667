"""Echo with gevent's StreamServer, a greenlet for each client."""

from __future__ import annotations

from contextlib import suppress

from gevent.server import StreamServer
from gevent.socket import socket

BACKLOG = 4096


def echo(client: socket, _address: tuple[str, int]) -> None:
    """Send back what one client sends."""
    with suppress(ConnectionError):
        while data := client.recv(65_536):
            client.sendall(data)


if __name__ == "__main__":
    server = StreamServer(("127.0.0.1", 0), echo, backlog=BACKLOG)
    server.start()
    print("port", server.server_port, flush=True)
    server.serve_forever()
