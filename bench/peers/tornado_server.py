"""Echo with Tornado's TCPServer."""

from __future__ import annotations

import asyncio

from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets
from tornado.tcpserver import TCPServer

BACKLOG = 4096


class Echo(TCPServer):
    """Sends back what it receives."""

    async def handle_stream(self, stream: IOStream, _address: tuple[str, int]) -> None:
        """Send back what one client sends."""
        while True:
            try:
                data = await stream.read_bytes(65_536, partial=True)
                await stream.write(data)
            except StreamClosedError:
                break


async def main() -> None:
    """Serve."""
    sockets = bind_sockets(0, "127.0.0.1", backlog=BACKLOG)
    Echo().add_sockets(sockets)
    print("port", sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
