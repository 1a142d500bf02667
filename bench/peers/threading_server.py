"""Echo with socketserver, a thread for each client."""

from __future__ import annotations

import socketserver
from contextlib import suppress


class Echo(socketserver.BaseRequestHandler):
    """Sends back what one client sends."""

    def handle(self) -> None:
        """Send it back until the client has gone."""
        with suppress(ConnectionError):
            while data := self.request.recv(65_536):
                self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    """Threads that end with the process, and room for many who wait."""

    daemon_threads = True
    request_queue_size = 4096


if __name__ == "__main__":
    with Server(("127.0.0.1", 0), Echo) as server:
        print("port", server.server_address[1], flush=True)
        server.serve_forever()
