"""A protocol of asyncio whose lines are done by the pool `default`, and awaited."""

from __future__ import annotations

import asyncio
import os
import signal
import time

from host import PoolError, Worker
from host.asyncio import AsyncioProtocol


def own_pid(_item: object = None) -> int:
    """Return who does it."""
    return os.getpid()


def double(value: int) -> int:
    """Be a tiny task."""
    return 2 * value


def die(_item: object = None) -> None:
    """End the process that does it."""
    os.kill(os.getpid(), signal.SIGKILL)


class Server(AsyncioProtocol):
    """Answers each line with what comes of it."""

    async def start(self, worker: Worker) -> None:
        """Have the pool started."""
        self._pool = worker.pool()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the lines of one client."""
        while line := await reader.readline():
            try:
                answer = await self._answer(line.decode().strip())
            except (PoolError, TimeoutError) as error:
                answer = type(error).__name__
            writer.write(f"{answer}\n".encode())
        writer.close()

    async def _answer(self, line: str) -> object:
        return await getattr(self, f"_{line}")()

    async def _pid(self) -> object:
        return await self._pool.apply(own_pid)

    async def _map(self) -> object:
        return await self._pool.map(double, range(5))

    async def _gather(self) -> object:
        found = await asyncio.gather(*(self._pool.apply(double, (each,)) for each in range(3)))
        return sum(found)

    async def _die(self) -> object:
        return await self._pool.apply(die)

    async def _late(self) -> object:
        return await asyncio.wait_for(self._pool.apply(time.sleep, (1000,)), 0.2)

    async def _ready(self) -> object:
        result = self._pool.apply_async(double, (4,))
        while not result.ready():
            await asyncio.sleep(0.01)
        return await result
