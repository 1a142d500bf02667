"""The server answers what is a request, and survives what is none: h11 is the client."""

import asyncio
import contextlib
import errno
import os
import socket
from http import HTTPStatus

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.ops.http import Response, text
from host.ops.http_connection import PATIENCE, Patience
from host.ops.http_server import MAX_CONNECTIONS, MAX_STREAMS, HttpServer

WHOLE = 50_000
"""The bytes of an answer that a server writes at once, whatever the client takes."""
MUCH = bytes(300_000)
"""An answer that does not go out before the client takes some of it, by small buffers."""


class Scene:
    """A server on a socket of its own, in the loop of the test."""

    def __init__(self, patience):
        self.errors, self.streams, self.clients, self.enough = [], [], [], asyncio.Event()
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.server = HttpServer(self.answer, self.errors.append, {"X-Of-All": "yes"}, patience)

    async def answer(self, request):
        match request.path:
            case "/fails":
                raise RuntimeError("as it is told to")
            case "/large":
                return Response(self.pieces(size=50_000_000))
            case "/whole":
                self.streams.append("answered")
                return Response(bytes(WHOLE))
            case "/much":
                self.streams.append("asked")
                return Response(MUCH)
            case "/later":
                self.streams.append("asked")
                await self.enough.wait()
            case "/short":
                return Response(self.one_piece())
            case "/stream":
                return Response(self.pieces(), kind="text/event-stream")
        of_host = f" of {request.headers['host']}" if "x" in request.headers else ""
        return text(HTTPStatus.OK, f"{request.method} {request.path}{of_host}")

    async def one_piece(self):
        yield b"0\n"

    async def pieces(self, size=0):
        self.streams.append("begun")
        try:
            for number in range(3):
                yield b"%d\n" % number + bytes(size)
            await asyncio.sleep(3600)
        finally:
            self.streams.append("ended")

    async def __aenter__(self):
        self.server.start([self.sock])
        return self

    async def __aexit__(self, *_):
        for each in self.clients:
            each.writer.close()
        await self.server.close(0.0)
        self.sock.close()

    async def open(self):
        self.clients.append(Client(*await asyncio.open_connection(*self.sock.getsockname())))
        return self.clients[-1]


class Client:
    """A client by h11."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.parser = h11.Connection(h11.CLIENT)

    async def ask(self, target, method="GET", headers=()):
        named = [("Host", "localhost"), *headers]
        event = h11.Request(method=method, target=target, headers=named)
        self.writer.write(self.parser.send(event) + self.parser.send(h11.EndOfMessage()))
        return await self.answer()

    async def answer(self):
        status, body = None, b""
        while True:
            event = self.parser.next_event()
            if event is h11.NEED_DATA:
                self.parser.receive_data(await self.reader.read(65536))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                if self.parser.their_state is h11.DONE and self.parser.our_state is h11.DONE:
                    self.parser.start_next_cycle()
                return status, body

    async def raw(self, data, end=True):
        """Send bytes, perhaps as the last ones; return all that comes until the end."""
        self.writer.write(data)
        if end:
            self.writer.write_eof()
        with contextlib.suppress(ConnectionResetError):
            return await self.reader.read()
        return b""


def play(scene_of, patience=PATIENCE):
    """Run a coroutine that is given a scene; nothing may be left of its tasks."""

    async def main():
        async with asyncio.timeout(20), Scene(patience) as scene:
            await scene_of(scene)
            return scene

    return asyncio.run(main())


def test_one_request_after_another_on_one_connection():
    async def scene_of(scene):
        client = await scene.open()
        for _ in range(3):
            assert await client.ask("/a%20b?c=d") == (200, b"GET /a b\n")

    play(scene_of)


@pytest.fixture
def parsed(monkeypatch):
    """What was given to parsers of the server, one list for each."""
    found = []

    class Noting(h11.Connection):
        def __init__(self, role, **options):
            super().__init__(role, **options)
            if role is h11.SERVER:
                found.append([])

        def receive_data(self, data):
            if self.our_role is h11.SERVER:
                found[-1].append(bytes(data))
            super().receive_data(data)

    monkeypatch.setattr(h11, "Connection", Noting)
    return found


def test_a_head_that_has_come_before_is_answered_anew_and_not_parsed_again(parsed):
    async def scene_of(scene):
        for _ in range(2):
            client = await scene.open()
            for _ in range(3):
                assert await client.ask("/whole") == (200, bytes(WHOLE))
        assert len(parsed) == 1
        assert scene.streams == ["answered"] * 6
        assert await client.ask("/whole?", "HEAD") == (200, b"")
        assert len(parsed) == 2

    play(scene_of)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nLong: %b\r\n\r\n" % (b"x" * 2048),
    ],
    ids=["close", "1.0", "PUT", "no host", "long"],
)
def test_other_heads_are_parsed_each_time(parsed, head):
    async def scene_of(scene):
        first, second = [await (await scene.open()).raw(head) for _ in range(2)]
        assert first == second != b""
        assert len(parsed) == 2

    play(scene_of)


def test_a_head_in_two_pieces_is_parsed_each_time(parsed):
    async def scene_of(scene):
        for _ in range(2):
            client = await scene.open()
            before = len(parsed)
            client.writer.write(b"GET / HTTP/1.1\r\n")
            while len(parsed) == before:
                await asyncio.sleep(0)
            answer = await client.raw(b"Host: a\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 ")
        assert [len(pieces) for pieces in parsed] == [2, 2]

    play(scene_of)


def test_only_so_many_heads_are_remembered(parsed):
    async def scene_of(scene):
        client = await scene.open()
        for number in range(65):
            await client.ask(f"/{number}")
        await client.ask("/64")
        assert len(parsed) == 65
        await client.ask("/0")
        assert len(parsed) == 66

    play(scene_of)


def test_who_sends_no_request_is_closed():
    async def scene_of(scene):
        assert await (await scene.open()).raw(b"") == b""
        for data in (b"\r\n", b"GET / HTTP/1.1\r\n"):
            assert (await (await scene.open()).raw(data)).startswith(b"HTTP/1.1 400 ")
        assert await (await scene.open()).ask("/") == (200, b"GET /\n")

    play(scene_of)


def test_a_head_has_no_body():
    async def scene_of(scene):
        client = await scene.open()
        assert await client.ask("/", "HEAD") == (200, b"")
        assert await client.ask("/") == (200, b"GET /\n")

    play(scene_of)


@pytest.mark.parametrize(
    "request_line",
    [b"HEAD * HTTP/1.1\r\n", b"HEAD / HTTP/2.0\r\n", b"HEAD / HTTP/1.1\r\nContent-Length: 1\r\n"],
    ids=["no path", "version", "body"],
)
def test_a_head_that_is_refused_has_no_body_either(request_line):
    async def scene_of(scene):
        answer = await (await scene.open()).raw(request_line + b"Host: localhost\r\n\r\n")
        assert answer.split()[1] in (b"400", b"505")
        assert answer.endswith(b"\r\n\r\n")

    play(scene_of)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "QUERY"])
def test_other_methods_are_refused(method):
    async def scene_of(scene):
        assert (await (await scene.open()).ask("/", method))[0] == 405

    play(scene_of)


def test_a_body_is_refused():
    async def scene_of(scene):
        client = await scene.open()
        answer = await client.raw(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        assert answer.startswith(b"HTTP/1.1 400 ")

    play(scene_of)


def test_who_sends_more_than_is_answered_has_the_answer_whole():
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n"

    async def scene_of(scene):
        client = await scene.open()
        client.writer.write(head + bytes(10_000_000))
        with contextlib.suppress(ConnectionError):  # as more is sent than the server waits for
            await client.writer.drain()
        head_of_answer, _, body = (await client.reader.read()).partition(b"\r\n\r\n")
        assert head_of_answer.startswith(b"HTTP/1.1 405 ")
        assert body == b"only GET and HEAD\n"

    play(scene_of)


def test_who_never_ends_what_is_not_answered_is_closed():
    async def scene_of(scene):
        client = await scene.open()
        client.writer.write(b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.reader.read()).startswith(b"HTTP/1.1 405 ")
        while scene.server._clients:
            await asyncio.sleep(0)

    play(scene_of, Patience(end=0.05))


def test_a_body_of_no_bytes_is_refused_where_its_end_is_told_twice():
    head = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def scene_of(scene):
        answer = await (await scene.open()).raw(head + b"0\r\n\r\n", end=False)
        assert answer.startswith(b"HTTP/1.1 400 ")

    play(scene_of)


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        (b"/a//b?c=d", b"/a//b of b"),
        (b"//a/b", b"//a/b of b"),
        (b"http://a:80/c?d", b"/c of a:80"),
        (b"http://a", b"/ of a"),
        (b"//", b"// of b"),
        (b"a/b", None),
        (b"a:/b", None),
        (b"*", None),
        (b"http://[a/b", None),
    ],
)
def test_a_target_that_names_a_host_is_for_that_one_alone(target, answer):
    async def scene_of(scene):
        found = await (await scene.open()).raw(
            b"GET %b HTTP/1.1\r\nHost: b\r\nX: named\r\n\r\n" % target
        )
        assert found.startswith(b"HTTP/1.1 %d " % (200 if answer else 400))
        assert answer is None or found.endswith(b"GET %b\n" % answer)

    play(scene_of)


def test_a_body_that_is_none_is_refused_too():
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def scene_of(scene):
        answer = await (await scene.open()).raw(head + b"no length\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")

    play(scene_of)


def test_an_error_is_told_and_the_others_go_on():
    async def scene_of(scene):
        client = await scene.open()
        assert (await client.ask("/fails"))[0] == 500
        assert (await client.ask("/"))[0] == 200

    assert [str(error) for error in play(scene_of).errors] == ["as it is told to"]


def test_pieces_come_as_they_are_made_and_end_with_the_client():
    async def scene_of(scene):
        client = await scene.open()
        client.writer.write(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        data = b""
        while b"2\n" not in data:
            data += await client.reader.read(65536)
        assert scene.streams == ["begun"]
        client.writer.close()
        while len(scene.streams) < 2:
            await asyncio.sleep(0)

    assert play(scene_of).streams == ["begun", "ended"]


def test_who_waits_makes_room():
    async def scene_of(scene):
        waiting = [await scene.open() for _ in range(MAX_CONNECTIONS)]
        for each in waiting:
            assert (await each.ask("/"))[0] == 200
        assert (await (await scene.open()).ask("/"))[0] == 200
        assert await waiting[0].reader.read() == b""
        assert (await waiting[-1].ask("/"))[0] == 200

    play(scene_of)


def crowd(scene, target, count=MAX_CONNECTIONS):
    """Fill all places with clients that ask for something, and take nothing of it."""
    scene.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # those accepted inherit it
    made = []
    for _ in range(count):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(scene.sock.getsockname())
        client.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target)
        made.append(client)
    return made


def test_who_takes_nothing_makes_room():
    async def scene_of(scene):
        crowded = crowd(scene, b"/much")
        while len(scene.streams) < MAX_CONNECTIONS:
            await asyncio.sleep(0)
        for _ in range(3):
            assert (await (await scene.open()).ask("/"))[0] == 200
        for each in crowded:
            each.close()

    play(scene_of, Patience(write=3600.0))


def test_a_stream_that_nobody_reads_makes_room_for_another():
    async def scene_of(scene):
        crowded = crowd(scene, b"/large", MAX_STREAMS)
        while len(scene.streams) < MAX_STREAMS:
            await asyncio.sleep(0)
        client = await scene.open()
        client.writer.write(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.reader.readline()).split()[1] == b"200"
        while scene.streams.count("ended") < 1:
            await asyncio.sleep(0)
        assert scene.streams.count("begun") == MAX_STREAMS + 1
        for each in crowded:
            each.close()

    play(scene_of, Patience(write=3600.0))


def test_streams_that_are_read_keep_their_places():
    async def scene_of(scene):
        for status in [200] * MAX_STREAMS + [503]:
            client = await scene.open()
            client.writer.write(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await client.reader.readline()).split()[1] == b"%d" % status
        assert "ended" not in scene.streams

    play(scene_of)


def test_who_comes_while_all_wait_for_answers_waits_too():
    async def scene_of(scene):
        crowded = crowd(scene, b"/later")
        while len(scene.streams) < MAX_CONNECTIONS:
            await asyncio.sleep(0)
        asking = asyncio.ensure_future((await scene.open()).ask("/"))
        assert await asyncio.wait({asking}, timeout=0.05) == (set(), {asking})
        scene.enough.set()
        assert (await asking)[0] == 200
        for each in crowded:
            each.close()

    play(scene_of)


def test_who_asks_more_before_the_answer_has_one_answer():
    async def scene_of(scene):
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        answer = await (await scene.open()).raw(3 * request, end=False)
        assert answer.count(b"HTTP/1.1 200 ") == 1
        assert b"connection: close\r\n" in answer.lower()

    play(scene_of)


@pytest.mark.parametrize("ends", [True, False], ids=["the end", "a request"])
def test_who_sends_more_while_an_answer_is_taken_has_that_answer_alone(ends):
    async def scene_of(scene):
        (client,) = crowd(scene, b"/much", 1)
        client.setblocking(False)
        while not (slow := [each for each in scene.server._clients if each.writes_since]):
            await asyncio.sleep(0)
        if ends:
            client.shutdown(socket.SHUT_WR)
        else:
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while not (slow[0]._has_ended if ends else slow[0]._sends_more):
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_connection(sock=client)
        answer = await reader.read()
        writer.close()
        assert answer.endswith(b"\r\n\r\n" + MUCH)
        assert answer.count(b"HTTP/1.1 200 ") == 1

    play(scene_of)


def test_who_asks_more_and_is_gone_before_the_answer_is_no_error():
    async def scene_of(scene):
        errors = []
        asyncio.get_running_loop().set_exception_handler(lambda _, error: errors.append(error))
        with socket.create_connection(scene.sock.getsockname()) as client:
            client.sendall(b"GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while scene.streams != ["asked"]:
                await asyncio.sleep(0)
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            while not [each for each in scene.server._clients if each._sends_more]:
                await asyncio.sleep(0)
        scene.enough.set()
        while scene.server._clients:
            await asyncio.sleep(0)
        assert errors == []

    play(scene_of)


@pytest.mark.parametrize(
    ("request_line", "status"), [(b"GET / HTTP/1.1", 200), (b"PUT / HTTP/1.1", 405), (b"?", 400)]
)
def test_each_answer_has_the_headers_of_all(request_line, status):
    async def scene_of(scene):
        answer = await (await scene.open()).raw(request_line + b"\r\nHost: localhost\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"x-of-all: yes\r\n" in answer.lower()

    play(scene_of)


def test_who_takes_too_long_for_a_head_is_closed():
    async def scene_of(scene):
        assert await (await scene.open()).raw(b"GET / HTTP/1.1\r\nX: ", end=False) == b""

    play(scene_of, Patience(head=0.05))


def test_who_asks_nothing_more_is_closed():
    async def scene_of(scene):
        client = await scene.open()
        assert (await client.ask("/"))[0] == 200
        assert await client.reader.read() == b""

    play(scene_of, Patience(idle=0.05))


def test_who_takes_nothing_is_closed():
    async def scene_of(scene):
        client = await scene.open()
        client.writer.write(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        client.writer.transport.pause_reading()
        while scene.streams != ["begun", "ended"]:
            await asyncio.sleep(0)

    play(scene_of, Patience(write=0.05))


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET http://[/ HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 20_000,
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_or_closed(junk):
    async def scene_of(scene):
        answer = await (await scene.open()).raw(junk)
        assert answer == b"" or answer.split()[1] in (b"400", b"431", b"505")
        assert (await (await scene.open()).ask("/"))[0] == 200

    assert not play(scene_of).errors


@given(st.binary(max_size=200), st.integers(1, 50))
def test_whatever_comes_others_are_answered(data, size):
    async def scene_of(scene):
        client = await scene.open()
        for at in range(0, len(data), size):
            client.writer.write(data[at : at + size])
        await client.raw(b"")
        assert (await (await scene.open()).ask("/"))[0] == 200

    assert not play(scene_of).errors


def test_a_server_that_ends_answers_who_has_just_come_and_resets_nobody():
    async def scene_of(scene):
        idle, new, silent = [await scene.open() for _ in range(3)]
        assert await idle.ask("/") == (200, b"GET /\n")
        closing = asyncio.ensure_future(scene.server.close(1.0))
        assert await idle.reader.read() == b""  # its end, and no reset
        assert await new.ask("/b") == (200, b"GET /b\n")
        assert await new.reader.read() == b""
        with contextlib.suppress(ConnectionResetError):  # it has as long to ask
            assert await silent.reader.read() == b""
        await closing

    play(scene_of)


def test_a_server_that_ends_waits_until_an_answer_is_taken():
    async def scene_of(scene):
        for each in (scene.sock, client := socket.socket()):  # which buffer less than the answer
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        with client, client.makefile("rb") as file:
            client.connect(scene.sock.getsockname())
            client.sendall(b"GET /whole HTTP/1.0\r\n\r\n")
            while scene.streams != ["answered"]:
                await asyncio.sleep(0)
            closing = asyncio.ensure_future(scene.server.close(20.0))
            assert not (await asyncio.wait([closing], timeout=0.1))[0]
            assert (await asyncio.to_thread(file.read)).endswith(b"\r\n\r\n" + bytes(WHOLE))
            await closing

    play(scene_of)


def test_a_server_that_ends_waits_for_no_piece_of_a_stream():
    async def scene_of(scene):
        client = await scene.open()
        client.writer.write(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.reader.readuntil(b"\n2\n")).startswith(b"HTTP/1.1 200 ")
        await scene.server.close(3600.0)
        assert await client.reader.read() == b""
        assert scene.streams == ["begun", "ended"]
        assert scene.errors == []

    play(scene_of)


def test_a_stream_ends_with_the_connection():
    async def scene_of(scene):
        whole = await (await scene.open()).raw(
            b"GET /short HTTP/1.1\r\nHost: localhost\r\n\r\n", end=False
        )
        head, _, body = whole.partition(b"\r\n\r\n")
        assert body == b"0\n"
        assert b"connection: close" in head.lower()
        assert b"transfer-encoding" not in head.lower()
        assert (await (await scene.open()).ask("/short", "HEAD")) == (200, b"")
        assert scene.errors == []

    play(scene_of)


class Full(socket.socket):
    """A listening socket that for the first connection has no descriptor."""

    refused = 0

    def accept(self):
        if not self.refused:
            self.refused = 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def test_who_comes_while_there_is_no_descriptor_is_served_later(monkeypatch):
    monkeypatch.setattr("host.ops.http_server._PAUSE_SECONDS", 0.01)

    async def scene_of(scene):
        await scene.server.close(0.0)
        scene.sock = Full(fileno=scene.sock.detach())
        scene.server = HttpServer(scene.answer, scene.errors.append)
        scene.server.start([scene.sock])
        assert await (await scene.open()).ask("/") == (200, b"GET /\n")
        assert scene.sock.refused

    play(scene_of)
