"""A worker tells of its connections in lines that are short enough."""

from types import SimpleNamespace

import pytest

from host.interfaces import CloseReason, Listener
from host.ipc.protocol import MAX_LINE_BYTES, Ask, ReportParser
from host.settings import ConnectionLimits
from host.worker.answers import answer
from host.worker.connection import SocketConnection
from host.worker.context import ListenerContext, OpenConnections
from support.fakes import FakeLoop

NO_FD = -1
LONGEST = "unix:/" + "é" * 53  # 107 bytes, and six for each letter in JSON


class Scene:
    """Connections of one listener, the n-th with the serial number n."""

    def __init__(self, address="unix:/run/x.sock", index=0, pid=4711):
        self.loop, self.ends = FakeLoop(), []
        self.open = OpenConnections()
        self.context = ListenerContext(
            Listener(index, address, "echo"),
            worker=SimpleNamespace(pid=pid, slot=0),
            loop=self.loop,
            on_accept=lambda *_: True,
            on_readable=lambda connection: connection.read(),
            on_close=lambda *args: self.ends.append(args),
            on_drain=print,
            blame=lambda error: "nobody",
            report=print,
            on_end=lambda *_: None,
            limits=ConnectionLimits(),
            connections=self.open,
            close=lambda fd: None,
        )
        self.connections = []

    def connect(self, fd=NO_FD, address="", claim=1):
        serial = len(self.connections) + 1
        made = SocketConnection(fd, address, serial, self.context, claim)
        self.connections.append(made)
        return made

    def ask(self, question, **args):
        """Ask; return the parts of the answer."""
        return list(answer(Ask(9, question, args), self.connections, self.loop.now))

    def items(self, question, **args):
        return [each for part in self.ask(question, **args) for each in part.data["items"]]


def test_a_connection_is_described_with_its_listener_claim_and_age():
    scene = Scene("unix:/run/x.sock", index=2)
    scene.connect(claim=70)
    scene.loop.now += 2.5
    connection = scene.connections[0]
    connection.last_active = scene.loop.now - 1.25
    connection.bytes_in, connection.bytes_out = 64, 1_000
    assert scene.items("connections", limit=10) == [
        {
            "id": "4711-1",
            "listener": "unix:/run/x.sock",
            "index": 2,
            "claim": 70,
            "peer": "unix",
            "age_seconds": 2.5,
            "idle_seconds": 1.25,
            "bytes_in": 64,
            "bytes_out": 1_000,
        }
    ]


@pytest.mark.parametrize(("limit", "shown"), [(1, 1), (3, 3), (10, 5)])
def test_no_more_connections_are_told_than_asked_for(limit, shown):
    scene = Scene()
    for _ in range(5):
        scene.connect()
    [part] = scene.ask("connections", limit=limit)
    assert len(part.data["items"]) == shown
    assert part.data["last"]


def test_a_thousand_connections_are_told_in_lines_that_are_short_enough():
    scene = Scene(LONGEST, index=65_534, pid=4_194_304)
    for _ in range(1000):
        scene.connect(claim=2**40)
    scene.loop.now += 1_000_000.123
    parts = scene.ask("connections", limit=100_000)
    lines = [part.line() for part in parts]
    assert max(map(len, lines)) <= MAX_LINE_BYTES
    assert ReportParser().feed(b"".join(lines)) == parts
    assert [part.kind for part in parts] == ["answer"] * len(parts)
    assert {part.data["number"] for part in parts} == {9}
    assert [part.data["last"] for part in parts] == [False] * (len(parts) - 1) + [True]
    told = [each["id"] for part in parts for each in part.data["items"]]
    assert told == [each.id for each in scene.connections]


@pytest.mark.parametrize("count", [0, 1, 200, 2000])
def test_the_last_part_says_so_however_many_there_are(count):
    scene = Scene()
    for _ in range(count):
        scene.connect()
    parts = scene.ask("connections", limit=100_000)
    assert sum(len(part.data["items"]) for part in parts) == count
    assert [part.data["last"] for part in parts] == [False] * (len(parts) - 1) + [True]
    assert all(part.data["items"] for part in parts) is (count > 0)


def test_the_oddest_address_that_settings_take_makes_no_line_too_long():
    scene = Scene("unix:/" + "\x01" * 106)
    for _ in range(100):
        scene.connect()
    assert all(len(part.line()) <= MAX_LINE_BYTES for part in scene.ask("connections", limit=100))


def test_one_connection_is_found_by_its_id_and_goes_on():
    scene = Scene()
    for _ in range(12):
        scene.connect()
    [found] = scene.items("find", id="4711-11")
    assert found["id"] == "4711-11"
    assert scene.open.touched == []
    assert not scene.connections[10].closed


def test_one_connection_is_closed_by_its_id_after_it_was_described():
    scene = Scene()
    for _ in range(3):
        scene.connect()
    [found] = scene.items("close", id="4711-2")
    assert (found["id"], found["peer"]) == ("4711-2", "unix")
    assert [each.closed for each in scene.connections] == [False, True, False]
    for connection in scene.open.touched:
        connection.follow_up()
    assert scene.ends == [(scene.connections[1], CloseReason.OPERATOR)]


@pytest.mark.parametrize("question", ["find", "close", "what is this"])
def test_the_answer_about_nothing_is_empty_and_comes_all_the_same(question):
    scene = Scene()
    scene.connect()
    [part] = scene.ask(question, id="4711-2")
    assert part.data == {"number": 9, "items": [], "last": True}
    assert not scene.connections[0].closed
