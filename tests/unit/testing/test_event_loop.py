"""Plugins of asyncio in a harness: their tasks and timers take part in the test's time."""

from __future__ import annotations

import asyncio
import functools
import time
from pathlib import Path
from typing import Any

import pytest

from host import CloseReason
from host.errors import RealWorkerNeededError
from host.testing import FakeWorker, Harness, check_protocol

PLUGIN = """
import asyncio
import time

from host.asyncio import AsyncioProtocol, serve


async def line_of(reader):
    try:
        return await reader.readline()
    except ValueError:
        return b""  # too long


async def shout(reader, writer):
    while line := await line_of(reader):
        if line == b"fail\\n":
            raise ValueError("of a task")
        if line == b"later\\n":
            await asyncio.sleep(60)
        if line == b"thread\\n":
            line = await asyncio.to_thread(bytes.title, line)
        if line == b"late\\n":
            try:
                async with asyncio.timeout(5):
                    await asyncio.Event().wait()
            except TimeoutError:
                pass
        writer.write(line.upper() if line != b"Thread\\n" else line)
        await writer.drain()
    writer.close()


app = serve(shout)


class Rooms(AsyncioProtocol):
    async def start(self, worker):
        self.said, self.ticks = [], 0
        await asyncio.sleep(3600)
        self.task = asyncio.create_task(self.tick())
        server = await asyncio.start_server(shout, sock=self.listening_sockets[0])
        self.said.append(server.sockets[0].getsockname())
        return server

    async def tick(self):
        try:
            while True:
                await asyncio.sleep(10)
                self.ticks += 1
        finally:
            self.said.append("cancelled")

    def drain(self, protocol, transport, deadline):
        assert asyncio.get_running_loop().time() < deadline
        transport.write(b"bye\\n")
        transport.close()

    async def stop(self, worker):
        self.said.append("stopped")


class Calls(AsyncioProtocol):
    async def start(self, worker):
        await asyncio.open_connection("127.0.0.1", 9)

    factory = asyncio.Protocol


class Never(AsyncioProtocol):
    async def start(self, worker):
        await asyncio.Event().wait()

    factory = asyncio.Protocol
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "shouting.py"
    path.write_text(PLUGIN)
    return str(path)


def test_streams_are_served_with_all_that_peers_do(file: str) -> None:
    exchanges = [(b"hello\n", b"HELLO\n"), (b"thread\n", b"Thread\n"), (b"\n", b"\n")]
    check_protocol(f"{file}:app", exchanges, unfinished=b"x")


def test_time_passes_for_tasks_as_the_test_says(file: str) -> None:
    began = time.monotonic()
    with Harness(f"{file}:app") as harness:
        connection = harness.connect()
        connection.feed(b"later\n")
        harness.advance(59)
        assert connection.take() == b""
        harness.advance(2)
        assert connection.take() == b"LATER\n"
        connection.feed(b"late\n")
        assert connection.take() == b""
        harness.advance(5)
        assert connection.take() == b"LATE\n"
        connection.feed_eof()
        assert connection.reason is CloseReason.PLUGIN
    assert time.monotonic() - began < 30


def test_what_tasks_raise_is_raised(file: str) -> None:
    with Harness(f"{file}:app") as harness:
        connection = harness.connect()
        with pytest.raises(ValueError, match="of a task"):
            connection.feed(b"fail\n")
        assert connection.was_reset


def test_a_plugin_starts_drains_and_stops(file: str) -> None:
    with Harness(f"{file}:Rooms", workers=2) as harness:
        rooms: Any = harness.plugin("shouting:Rooms")
        connection = harness.connect()
        connection.feed(b"hello\n")
        assert connection.take() == b"HELLO\n"
        before = rooms.ticks  # while the other worker has started
        harness.advance(35)
        assert rooms.ticks - before == 3
        harness.drain()
        assert connection.take() == b"bye\n"
        assert connection.reason is CloseReason.PLUGIN
    assert rooms.said == [("127.0.0.1", 7000), "stopped", "cancelled"]


def test_what_needs_a_real_worker_says_so(file: str) -> None:
    harness = Harness(f"{file}:Calls")
    with pytest.raises(RealWorkerNeededError, match="test the plugin with a RunningHost"):
        harness.start()


def test_what_never_comes_is_an_error_and_no_endless_wait(file: str) -> None:
    harness = Harness(f"{file}:Never")
    with pytest.raises(AssertionError, match="waits for what never comes"):
        harness.start()


def test_a_callback_that_fails_is_told_by_its_name_without_its_arguments() -> None:
    worker = FakeWorker()
    worker.asyncio.call_soon(functools.partial(Path.read_text, Path("/nowhere/secret")))
    worker.call_from_thread(functools.partial(Path.read_text, Path("/nowhere/secret")))
    with pytest.raises(FileNotFoundError):
        worker.run()
    told = ["call of Path.read_text", "callback Path.read_text"]
    assert [each.hook for each in worker.failures] == told


def test_what_is_given_up_before_a_thread_has_begun_with_it_is_not_called() -> None:
    worker, called = FakeWorker(), []
    loop = worker.asyncio

    async def work(number: int) -> None:
        await loop.run_in_executor(None, called.append, number)

    first, second = loop.create_task(work(1)), loop.create_task(work(2))
    loop.call_soon(first.cancel)
    worker.run()
    worker.close_asyncio()  # which raises what callbacks have raised
    assert (first.cancelled(), second.done(), called) == (True, True, [2])


def test_a_fake_worker_has_an_event_loop_of_its_own() -> None:
    worker = FakeWorker()
    loop, done = worker.asyncio, []

    async def work() -> None:
        await asyncio.sleep(1)
        done.append(asyncio.get_running_loop() is loop)

    task = loop.create_task(work())
    worker.run()
    assert not done
    worker.advance(1)
    assert (done, task.done()) == ([True], True)
    assert loop.run_until_complete(asyncio.wait_for(asyncio.sleep(5, "five"), 10)) == "five"
    with pytest.raises(RealWorkerNeededError):
        loop.run_until_complete(asyncio.create_subprocess_exec("true"))
    worker.close_asyncio()
