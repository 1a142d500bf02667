"""Everything that asyncio has, used in a worker: each line names what is to be tried."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from typing import Any

from host import Connection, hookimpl
from host.asyncio import AsyncioProtocol


class Zoo(AsyncioProtocol):
    async def start(self, worker: Any) -> None:
        self.ticks = 0
        self.ticking = asyncio.create_task(self.tick())
        self.numbers = self.count()
        await anext(self.numbers)

    async def tick(self) -> None:
        try:
            while True:
                self.ticks += 1
                await asyncio.sleep(0.01)
        finally:
            print("cancelled", flush=True)

    async def count(self) -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            print("generator closed", flush=True)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            result = await getattr(self, f"try_{line.decode().strip()}")()
            writer.write(f"{result}\n".encode())
        writer.close()

    async def try_background(self) -> bool:
        before = self.ticks
        while self.ticks < before + 2:
            await asyncio.sleep(0.01)
        return True

    async def try_thread(self) -> int:
        return await asyncio.to_thread(lambda: 42)

    async def try_call_from_thread(self) -> int:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[int] = loop.create_future()
        threading.Thread(target=loop.call_soon_threadsafe, args=(future.set_result, 7)).start()
        return await future

    async def try_subprocess(self) -> tuple[int, int | None]:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec("cat", stdin=pipe, stdout=pipe)
        output, _ = await process.communicate(b"x" * 300_000)
        return len(output), process.returncode

    async def try_fork(self) -> int:
        pid = os.fork()
        if not pid:
            await asyncio.sleep(0)  # back to the host, which ends it
            print("a second worker", flush=True)
        return os.waitpid(pid, 0)[1]

    async def try_getaddrinfo(self) -> bool:
        return bool(await asyncio.get_running_loop().getaddrinfo("localhost", 80))

    async def try_datagrams(self) -> bytes:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()

        class Receiver(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, _address: Any) -> None:
                future.set_result(data)

        transport, _ = await loop.create_datagram_endpoint(Receiver, ("127.0.0.1", 0))
        transport.sendto(b"hello", transport.get_extra_info("sockname"))
        data = await future
        transport.close()
        return data

    async def try_client(self) -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\n")
        data = await reader.readline()
        writer.close()
        server.close()
        return data

    async def try_group(self) -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0.01, number)) for number in (1, 2)]
        return sum(task.result() for task in tasks)

    async def try_timeout(self) -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return "in time"

    async def try_second_server(self) -> str:
        try:
            await asyncio.start_server(print, "prefork")
        except RuntimeError as error:
            return str(error)

    async def try_datagrams_of_the_host(self) -> str:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("prefork", 7))
        except RuntimeError as error:
            return str(error)


class Late:
    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        if connection.read():
            connection.write(repr(connection.worker.asyncio).encode())
