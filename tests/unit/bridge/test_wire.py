"""A plain socket in the host's loop: it is used as a transport of asyncio is."""

import asyncio
import fcntl
import socket
import termios

import pytest

from host.asyncio.event_loop import HostEventLoop
from host.bridge.wire import PlainWire, open_socket
from host.runtime.loop import Loop

LARGE = bytes(range(256)) * 8_000


class Reader:
    """Keeps what has come, and how it has ended."""

    def __init__(self):
        self.heard = b""
        self.ended = asyncio.get_running_loop().create_future()
        self.on_data = lambda: None

    def take(self, data):
        self.heard += data
        self.on_data()

    def connection_lost(self, error):
        self.ended.set_result(error)


def tcp_pair():
    """Return both ends of a connection over the loopback interface."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        return ours, server.accept()[0]


class Pair:
    """A wire, what it tells, and the other end of its socket."""

    def __init__(self, loop, make=socket.socketpair):
        self.ours, self.there = make()
        self.there.setblocking(False)
        self.reader = Reader()
        self.wire = PlainWire(self.ours, loop, self.reader)

    async def until(self, holds):
        async with asyncio.timeout(10):
            while not holds():
                await asyncio.sleep(0.001)

    async def read_all(self, size):
        """Read so much at the other end."""
        found = b""
        async with asyncio.timeout(10):
            while len(found) < size:
                found += await asyncio.get_running_loop().sock_recv(self.there, 65_536)
        return found


def run(test, make=socket.socketpair):
    """Run a test in asyncio's loop within the host's."""
    loop = Loop()

    async def begin():
        pair = Pair(loop, make)
        try:
            await test(pair)
        finally:
            pair.wire.abort()
            await pair.reader.ended
            pair.there.close()

    with asyncio.Runner(loop_factory=lambda: HostEventLoop(loop)) as runner:
        runner.run(begin())
    loop.close()


def test_what_has_no_room_follows_in_its_order():
    async def test(pair):
        pair.wire.write(LARGE)
        pair.wire.write(b"the end")
        assert pair.wire.get_write_buffer_size() > 0
        assert await pair.read_all(len(LARGE) + 7) == LARGE + b"the end"
        await pair.until(lambda: not pair.wire.get_write_buffer_size())
        pair.wire.write(b"at once")
        assert not pair.wire.get_write_buffer_size()
        assert await pair.read_all(7) == b"at once"

    run(test)


def test_a_few_bytes_wait_for_more_or_until_they_are_wanted():
    async def test(pair):
        async def sent(count):
            pair.there.send(bytes(count))
            waiting = bytearray(4)
            async with asyncio.timeout(10):
                while not any(fcntl.ioctl(pair.ours, termios.FIONREAD, waiting) or waiting):
                    await asyncio.sleep(0)
            for _ in range(5):
                await asyncio.sleep(0)

        pair.wire.be_patient(patient=True)
        await sent(10)
        assert not pair.reader.heard
        pair.there.send(bytes(60))
        await pair.until(lambda: len(pair.reader.heard) == 70)
        await sent(10)
        assert len(pair.reader.heard) == 70
        pair.wire.be_patient(patient=False)
        await pair.until(lambda: len(pair.reader.heard) == 80)
        pair.there.send(b"1")
        await pair.until(lambda: len(pair.reader.heard) == 81)
        pair.wire.be_patient(patient=True)
        pair.there.send(b"last")
        pair.there.shutdown(socket.SHUT_WR)
        await pair.reader.ended
        assert pair.reader.heard.endswith(b"last")

    run(test, tcp_pair)


def test_what_comes_is_read_but_while_it_is_paused():
    async def test(pair):
        pair.there.send(b"1")
        await pair.until(lambda: pair.reader.heard == b"1")
        pair.wire.pause_reading()
        pair.wire.write(LARGE)  # to be able to send does not make it read
        pair.there.send(b"2")
        await pair.read_all(len(LARGE))
        assert pair.reader.heard == b"1"
        pair.wire.resume_reading()
        await pair.until(lambda: pair.reader.heard == b"12")

    run(test)


@pytest.mark.parametrize("paused", [False, True])
def test_an_end_is_told_once_and_nothing_is_sent_any_more(paused):
    async def test(pair):
        if paused:
            pair.wire.pause_reading()
        pair.there.close()
        assert await pair.reader.ended is None
        assert pair.wire.is_closing()
        pair.wire.write(b"x")
        pair.wire.pause_reading()
        pair.wire.abort()
        assert not pair.wire.get_write_buffer_size()

    run(test)


def test_what_cannot_be_sent_ends_it():
    async def test(pair):
        pair.wire.pause_reading()
        pair.there.close()
        pair.wire.write(b"x")
        assert isinstance(await pair.reader.ended, OSError)

    run(test)


def test_a_reader_may_end_it_while_it_reads():
    async def test(pair):
        pair.reader.on_data = pair.wire.abort
        pair.there.send(b"1")
        assert await pair.reader.ended is None
        assert pair.reader.heard == b"1"

    run(test)


def test_a_reader_that_fails_ends_its_connection_alone():
    async def test(pair):
        told = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))
        pair.reader.on_data = lambda: 1 // 0
        pair.there.send(b"1")
        assert await pair.reader.ended is None
        (what,) = told
        assert isinstance(what["exception"], ZeroDivisionError)

    run(test)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_each_address_of_a_server_is_tried(name):
    async def test():
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            (await open_socket(name, port, "")).close()
        with pytest.raises(ConnectionRefusedError):
            await open_socket(name, port, "")

    asyncio.run(test())


def test_a_unix_socket_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        asyncio.run(open_socket("", 0, str(tmp_path / "none")))
