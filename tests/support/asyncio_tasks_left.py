"""Plugins of asyncio: a task does not end when it is cancelled, and one takes time to stop."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from host import Connection, Worker, hookimpl
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


class Late:
    """Begins a task as it stops, and another one as that ends: both are to hear of the end."""

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        self.loop = worker.asyncio

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        connection.write(connection.read())

    @hookimpl
    def on_worker_stop(self, worker: Worker) -> None:
        self.task = self.loop.create_task(self.wait("first"))

    async def wait(self, name: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            print(f"{name} was cancelled")
            if name == "first":
                self.task = self.loop.create_task(self.wait("second"))
            raise


class Many:
    """Begins many tasks at a request, each of which takes 10 ms, and answers after the last."""

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        self.loop = worker.asyncio

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        request = connection.read()
        if request == b"many\n":
            self.all = self.loop.create_task(self.do_all(connection))
        else:
            connection.write(request)

    async def do_all(self, connection: Connection) -> None:
        await asyncio.gather(*(self.do_one() for _ in range(300)))
        connection.write(b"all\n")

    async def do_one(self) -> None:
        until = time.monotonic() + 0.01
        while time.monotonic() < until:
            pass
