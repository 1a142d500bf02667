"""A worker tells of its connections a few in each turn."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from host.interfaces import CloseReason, ConnectionOrigin, Listener, TlsInfo
from host.ipc.protocol import (
    ANSWER_SECONDS,
    LONGEST_ANSWER_SECONDS,
    MAX_LINE_BYTES,
    Ask,
    ReportParser,
)
from host.settings import ConnectionLimits
from host.worker.answers import (
    _LOOKS,
    _PART_ITEMS,
    _PART_SECONDS,
    _PAUSE_SECONDS,
    Answers,
)
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
            worker=SimpleNamespace(pid=pid, slot=3),
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
        self.connections, self.channel, self.tick = [], Channel(), 0.0
        self.answers = Answers(self.open, self.loop, self.channel, self._clock)

    def _clock(self):
        self.loop.now += self.tick
        return self.loop.now

    def connect(self, fd=NO_FD, address="", claim=1):
        serial = len(self.connections) + 1
        made = SocketConnection(fd, address, serial, self.context, claim)
        self.open.open.add(made)
        self.connections.append(made)
        return made

    def begin(self, question, deadline=None, **args):
        """Ask; the worker answers in later turns."""
        deadline = self.loop.now + ANSWER_SECONDS if deadline is None else deadline
        self.answers.begin(Ask(9, question, args, deadline))

    def go_on(self, seconds=None):
        """Let so much time pass, or as much as it takes for the next turn."""
        self.loop.advance(min(self.loop.due) if seconds is None else self.loop.now + seconds)

    def ask(self, question, **args):
        """Ask; return the parts of the answer."""
        self.begin(question, **args)
        while not self.channel.reports[-1].data["last"]:
            self.go_on()
        return self.channel.reports

    def items(self, question, **args):
        return [each for part in self.ask(question, **args) for each in part.data["items"]]

    def told(self):
        """Return how many connections each part so far has."""
        return [len(part.data["items"]) for part in self.channel.reports]


class Channel:
    """What a worker reports to; while `waiting` is set the supervisor takes nothing."""

    def __init__(self):
        self.reports, self.waiting = [], False

    def report(self, report):
        assert not self.waiting
        self.reports.append(report)


def test_a_connection_is_described_with_its_listener_and_age():
    scene = Scene("unix:/run/x.sock", index=2)
    scene.connect(claim=70)
    scene.loop.now += 2.5
    connection = scene.connections[0]
    connection.last_active = scene.loop.now - 1.25
    connection.bytes_in, connection.bytes_out = 64, 1_000
    described = {
        "slot": 3,
        "id": "4711-1",
        "listener": "unix:/run/x.sock",
        "peer": "unix",
        "uid": None,
        "tls": None,
        "age_seconds": 2.5,
        "idle_seconds": 1.25,
        "bytes_in": 64,
        "bytes_out": 1_000,
        "unsent_bytes": 0,
        "doing": "",
        "doing_seconds": 0.0,
    }
    assert scene.items("connections", limit=10) == [described]
    scene.channel.reports.clear()
    assert scene.items("find", id="4711-1") == [described | {"index": 2, "claim": 70, "tasks": []}]


def test_it_is_told_what_is_done_for_a_connection_and_for_how_long():
    scene = Scene()
    connection = scene.connect()
    scene.loop.now += 2.0
    connection.doing = "GET /\n\x1b[2J"
    scene.loop.now += 1.5
    [item] = scene.items("connections", limit=1)
    assert (item["doing"], item["doing_seconds"]) == ("GET /\\x0a\\x1b[2J", 1.5)
    connection.doing = ""
    scene.channel.reports.clear()
    [item] = scene.items("connections", limit=1)
    assert (item["doing"], item["doing_seconds"]) == ("", 0.0)


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
        scene.connect(claim=2**40).doing = "é\0" * 50
    scene.loop.now += 1_000_000.123
    parts = scene.ask("connections", limit=100_000)
    lines = [part.line() for part in parts]
    assert max(map(len, lines)) <= MAX_LINE_BYTES
    assert ReportParser().feed(b"".join(lines)) == parts
    assert [part.kind for part in parts] == ["answer"] * len(parts)
    assert {part.data["number"] for part in parts} == {9}
    assert [part.data["last"] for part in parts] == [False] * (len(parts) - 1) + [True]
    told = [each["id"] for part in parts for each in part.data["items"]]
    assert sorted(told) == sorted(each.id for each in scene.connections)


@pytest.mark.parametrize("count", [0, 1, 2 * _PART_ITEMS, 2000])
def test_the_last_part_says_so_however_many_there_are(count):
    scene = Scene()
    for _ in range(count):
        scene.connect()
    parts = scene.ask("connections", limit=100_000)
    assert sum(len(part.data["items"]) for part in parts) == count
    assert [part.data["last"] for part in parts] == [False] * (len(parts) - 1) + [True]


def test_the_oddest_address_that_settings_take_makes_no_line_too_long():
    scene = Scene("unix:/" + "\x01" * 106)
    for _ in range(100):
        scene.connect()
    assert all(len(part.line()) <= MAX_LINE_BYTES for part in scene.ask("connections", limit=100))


def test_a_part_is_told_in_each_turn_and_the_others_have_the_loop_in_between():
    scene = Scene()
    for _ in range(3 * _PART_ITEMS - 1):
        scene.connect()
    scene.begin("connections", limit=1000)
    assert scene.told() == [_PART_ITEMS]
    scene.go_on(_PAUSE_SECONDS / 2)
    assert scene.told() == [_PART_ITEMS]
    scene.go_on()
    assert scene.told() == [_PART_ITEMS] * 2
    scene.go_on()
    assert scene.told() == [_PART_ITEMS] * 2 + [_PART_ITEMS - 1]
    assert scene.loop.due == []


def test_a_part_is_over_when_it_has_taken_its_time():
    scene = Scene()
    for _ in range(2000):
        scene.connect()
    scene.tick = _PART_SECONDS / 2  # for each look at the clock
    scene.begin("connections", limit=1000)
    assert scene.told() == [2 * _LOOKS]
    scene.channel.reports.clear()
    scene.begin("find", id="4711-0")  # it looks at 2,000, and finds none
    while scene.loop.due:
        scene.go_on()
    assert len(scene.channel.reports) > 2000 // (2 * _LOOKS)
    assert scene.channel.reports[-1].data == {"number": 9, "items": [], "last": True}


def test_nothing_more_is_told_before_the_supervisor_has_taken_what_was():
    scene = Scene()
    for _ in range(2 * _PART_ITEMS):
        scene.connect()
    scene.channel.waiting = True
    scene.begin("connections", limit=1000)
    scene.go_on(ANSWER_SECONDS / 2)
    assert scene.told() == []
    scene.channel.waiting = False
    scene.go_on()
    assert scene.told() == [_PART_ITEMS]


@pytest.mark.parametrize("question", ["connections", "close"])
def test_a_question_whose_time_is_up_is_not_answered(question):
    scene = Scene()
    scene.connect()
    scene.begin(question, deadline=scene.loop.now - 0.001, limit=10, id="4711-1")
    scene.begin("find", id="4711-1")
    [part] = scene.channel.reports
    assert part.data["items"][0]["claim"] == 1
    assert not scene.connections[0].closed
    assert scene.loop.due == []


def test_an_answer_that_nobody_waits_for_any_more_ends():
    scene = Scene()
    for _ in range(3 * _PART_ITEMS):
        scene.connect()
    scene.begin("connections", limit=1000)
    scene.channel.waiting = True
    scene.go_on(2 * ANSWER_SECONDS)
    scene.channel.waiting = False
    scene.go_on(2 * ANSWER_SECONDS)
    assert scene.told() == [_PART_ITEMS]
    assert scene.loop.due == []


def test_an_answer_that_takes_too_long_in_all_ends():
    scene = Scene()
    for _ in range(100 * _PART_ITEMS):
        scene.connect()
    scene.begin("connections", limit=100_000)
    began = scene.loop.now
    while scene.loop.due:
        scene.channel.waiting = True
        scene.go_on(ANSWER_SECONDS / 2)
        scene.channel.waiting = False
        if scene.loop.due:
            scene.go_on()
    assert LONGEST_ANSWER_SECONDS <= scene.loop.now - began <= LONGEST_ANSWER_SECONDS + 1
    assert not scene.channel.reports[-1].data["last"]


def test_questions_are_answered_one_after_the_other():
    scene = Scene()
    for _ in range(2 * _PART_ITEMS - 1):
        scene.connect()
    scene.begin("connections", limit=1000)
    scene.begin("close", id="4711-1")
    assert not scene.connections[0].closed
    scene.go_on()
    scene.go_on()
    assert scene.told() == [_PART_ITEMS, _PART_ITEMS - 1, 1]
    assert scene.connections[0].closed


def test_a_connection_that_has_ended_meanwhile_is_left_out():
    scene = Scene()
    for _ in range(2 * _PART_ITEMS - 1):
        scene.connect()
    scene.begin("connections", limit=1000)
    scene.open.open.clear()
    scene.go_on()
    assert scene.told() == [_PART_ITEMS, 0]


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


def test_it_is_told_what_was_agreed_on_for_tls():
    scene = Scene()
    connection = scene.connect()
    agreed = TlsInfo("TLSv1.3", "TLS_AES_128_GCM_SHA256", "h2", "a\x1b.example", False, b"...")
    connection._address = replace(connection.origin, tls=agreed)
    [item] = scene.items("connections", limit=1)
    assert item["tls"] == {
        "version": "TLSv1.3",
        "cipher": "TLS_AES_128_GCM_SHA256",
        "alpn": "h2",
        "server_name": "a\\x1b.example",
    }


def test_the_user_is_told_if_it_was_asked_for_as_a_client():
    scene = Scene("unix:/run/x.sock")
    connection = scene.connect()
    connection._address = ConnectionOrigin("unix", uid=33, pid=1)
    [item] = scene.items("connections", limit=1)
    assert item["uid"] == 33
