"""Lines with asyncio streams on uvloop: each one is read, answered and waited for."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import uvloop

BACKLOG = 4096


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each line of one client with itself."""
    with suppress(ConnectionError):
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
    writer.close()


async def main() -> None:
    """Serve."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=BACKLOG)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
