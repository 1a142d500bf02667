"""A protocol of asyncio that does what it is told, line by line, and prints what happens to it."""

from __future__ import annotations

import asyncio
import contextvars
import json
import signal
import sys
import time
from typing import Any

from host.asyncio import AsyncioProtocol

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def told(text: str) -> None:
    print(text, flush=True)


class Obedient(asyncio.Protocol):
    def __init__(self) -> None:
        self.buffered = b""
        self.half_open = self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self.buffered = (self.buffered + data).split(b"\n")
        for line in lines:
            name, *words = line.decode().split(" ")
            getattr(self, f"do_{name}")(*words)

    def eof_received(self) -> bool:
        told("eof")
        if self.half_open:
            self.say("after the end")
            self.transport.close()
        return self.half_open

    def connection_lost(self, error: Exception | None) -> None:
        told(f"lost: {error!r}")

    def pause_writing(self) -> None:
        self.paused = True
        told("paused")

    def resume_writing(self) -> None:
        self.paused = False
        self.say("resumed")

    def say(self, text: str) -> None:
        self.transport.write(text.encode() + b"\n")

    def do_echo(self, text: str) -> None:
        self.say(text)

    def do_half(self) -> None:
        self.half_open = True
        self.say("half")

    def do_close(self) -> None:
        self.say("bye")
        self.transport.close()

    def do_abort(self) -> None:
        self.say("never")
        self.transport.abort()

    def do_raise(self) -> None:
        raise ValueError("of a protocol")

    def do_fail(self) -> None:
        async def fails() -> None:
            raise ValueError("of a task")

        self.task = asyncio.get_running_loop().create_task(fails(), name="failing")
        self.task.add_done_callback(lambda _: setattr(self, "task", None))

    def do_exit(self) -> None:
        asyncio.get_running_loop().call_soon(sys.exit, 3)

    def do_callback(self) -> None:
        def broken() -> None:
            raise ValueError("of a callback")

        asyncio.get_running_loop().call_soon(broken)

    def do_hang(self) -> None:
        time.sleep(1e6)

    def do_hang_in_task(self) -> None:
        async def hangs() -> None:
            time.sleep(1e6)

        self.task = asyncio.get_running_loop().create_task(hangs())

    def do_who(self, name: str = "") -> None:
        if name:
            WHO.set(name)

        async def answer() -> None:
            self.say(WHO.get())

        self.task = asyncio.get_running_loop().create_task(answer())

    def do_much(self, size: str, times: str = "1") -> None:
        for _ in range(int(times)):
            self.transport.write(b"x" * int(size))

    def do_until_paused(self) -> None:
        while not self.paused:
            self.transport.write(b"x" * 65_536)

    def do_eof(self) -> None:
        self.transport.write(b"x" * 1_000_000)
        self.transport.write_eof()
        try:
            self.transport.write(b"more")
        except RuntimeError as error:
            told(str(error))

    def do_info(self) -> None:
        transport = self.transport
        transport.set_write_buffer_limits(high=7, low=3)
        loop = asyncio.get_running_loop()
        sock = transport.get_extra_info("socket")
        facts: dict[str, Any] = {
            "peername": transport.get_extra_info("peername"),
            "sockname": transport.get_extra_info("sockname"),
            "socket": sock.getsockname(),
            "own": sock.fileno() != transport.get_extra_info("connection").fileno(),
            "ssl_object": transport.get_extra_info("ssl_object"),
            "listener": transport.get_extra_info("listener").address,
            "limits": transport.get_write_buffer_limits(),  # type: ignore[attr-defined]
            "reading": transport.is_reading(),
            "clock": abs(loop.time() - time.monotonic()) < 1,
        }
        self.say(json.dumps(facts))

    def do_signal(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            loop.add_signal_handler(getattr(signal, name), lambda: self.say("signalled"))
        except RuntimeError as error:
            self.say(str(error))
        else:
            self.say("handled")


class Plugin(AsyncioProtocol):
    def factory(self) -> asyncio.BaseProtocol:
        return Obedient()

    async def stop(self, worker: Any) -> None:
        told("stopped")


class Refusing(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        raise ValueError("not today")


class Refuser(AsyncioProtocol):
    def factory(self) -> asyncio.BaseProtocol:
        return Refusing()
