"""Plugins of asyncio: a task does not end when it is cancelled, and one takes time to stop."""

from __future__ import annotations

import asyncio
from typing import Any

from host.asyncio import AsyncioProtocol


class Stubborn(AsyncioProtocol):
    """Has a task that goes on for ever."""

    async def start(self, worker: Any) -> None:
        self.task = asyncio.create_task(self.go_on(), name="the stubborn one")

    async def go_on(self) -> None:
        while True:
            try:
                await self.wait()
            except asyncio.CancelledError:
                print("not yet", flush=True)

    async def wait(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            await self.answer(line, writer)
        writer.close()

    async def answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(line.upper())


class Slow(Stubborn):
    """Waits for longer than a call may take that does not get on."""

    async def stop(self, worker: Any) -> None:
        self.task.cancel()
        await asyncio.sleep(2.5)
        print("stopped", flush=True)
