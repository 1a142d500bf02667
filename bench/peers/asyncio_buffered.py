"""Echo with an asyncio protocol that brings its own buffer (asyncio.BufferedProtocol).

asyncio.Protocol is given a new bytes object for each read, for which 256 KiB are allocated first.
How long that takes depends on what glibc has come to do with such blocks in this process: it takes
them from the kernel and gives them back each time, or keeps them (mallopt(3), M_MMAP_THRESHOLD).
The buffer here is allocated once, so the protocol is measured and not the allocator.
"""

from __future__ import annotations

import asyncio

BACKLOG = 4096
BUFFER_BYTES = 65_536


class Echo(asyncio.BufferedProtocol):
    """Sends back what it receives."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(BUFFER_BYTES))

    def connection_made(self, transport: asyncio.WriteTransport) -> None:  # type: ignore[override]
        """Keep the transport."""
        self.transport = transport

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Return where what arrives is written to."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Send it back; a copy, since the transport keeps what the kernel does not take."""
        self.transport.write(bytes(self._buffer[:nbytes]))


async def main() -> None:
    """Serve."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=BACKLOG)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
