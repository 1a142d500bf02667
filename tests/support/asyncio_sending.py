"""A plugin of asyncio that sends files, and says what it is told of TLS."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from host.asyncio import HostTransport, serve


def told(text: object) -> None:
    print(text, flush=True)


class Sender:
    """Does what the lines of one client say."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer

    async def file(self, path: str, *numbers: str) -> None:
        offset, *counts = map(int, numbers or ["0"])
        loop, transport = asyncio.get_running_loop(), self.writer.transport
        assert type(transport) is HostTransport
        with open(path, "rb") as file:
            self.writer.write(b"before ")
            try:
                size = await loop.sendfile(transport, file, offset, *counts, fallback=False)
            except (OSError, RuntimeError) as error:
                told(f"{type(error).__name__}: {error}")
                if transport.is_closing():
                    return
                size = -1
            position = file.tell() if os.path.isfile(path) else 0
            self.writer.write(f" after {size} at {position}\n".encode())

    async def fill(self, size: str) -> None:
        """Write until so many bytes wait that the kernel does not take, and a file after them."""
        transport: Any = self.writer.transport
        while transport.get_write_buffer_size() < int(size):
            self.writer.write(b"x" * 1000)
            await asyncio.sleep(0)
        told("full")

    async def eof(self) -> None:
        try:
            self.writer.write_eof()
        except NotImplementedError as error:
            told(error)
        told("half closed" if self.writer.can_write_eof() else "cannot half-close")

    async def tls(self) -> None:
        get = self.writer.get_extra_info
        found = get("ssl_object")
        facts = {
            "version": found and found.version(),
            "context": found and get("sslcontext") is found.context,
            "cipher": get("cipher") and get("cipher")[1],
            "compression": get("compression", "default"),
            "peercert": get("peercert", "default"),
        }
        self.writer.write(f"{facts!r}\n".encode())


async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    sender = Sender(writer)
    while line := await reader.readline():
        name, *words = line.decode().split()
        await getattr(sender, name)(*words)
    writer.close()


app = serve(obey)
