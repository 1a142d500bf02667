"""Lines with a protocol on uvloop that splits them itself.

The argument says whether it writes each answer by itself or all of them joined.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

BACKLOG = 4096


class Lines(asyncio.Protocol):
    """Answers each line with itself."""

    def connection_made(self, transport: asyncio.WriteTransport) -> None:  # type: ignore[override]
        """Begin with nothing."""
        self.transport = transport
        self.rest = b""

    def lines(self, data: bytes) -> list[bytes]:
        """Take complete lines out of what has come."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        return lines


class Each(Lines):
    """Writes each answer."""

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        for line in self.lines(data):
            self.transport.write(line + b"\n")


class Joined(Lines):
    """Writes all answers at once."""

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        answers = [line + b"\n" for line in self.lines(data)]
        if answers:
            self.transport.write(b"".join(answers))


async def main(protocol: type[Lines]) -> None:
    """Serve."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=BACKLOG)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main({"each": Each, "joined": Joined}[sys.argv[1]]))
