"""Each notification is claimed before accept() and settled after it; capacity is waited for."""

import errno
import socket
from types import SimpleNamespace

import pytest

from host.interfaces import Listener
from host.ipc.scoreboard import (
    ACCEPTED,
    ACCEPTED_ALL,
    ACTIVE,
    CLAIMED,
    CLAIMED_ALL,
    GATE_SHUT,
    REFUSED,
    REFUSING,
    SETTLED,
    SPURIOUS,
)
from host.settings import ConnectionLimits
from host.telemetry.events import ACCEPT_FAILED
from host.worker.acceptor import Acceptor
from host.worker.context import ListenerContext, Turn
from support.dispatch_world import accepting
from support.fakes import FakeDescriptors, FakeLoop, FakeSocket, Told, blank_cells, rows_of

SHORT = [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM]
ADDRESS = ("127.0.0.1", 50211)


@pytest.fixture(autouse=True)
def unblocked(monkeypatch):
    """Return the descriptors that were made non-blocking."""
    unblocked = []
    monkeypatch.setattr("os.set_blocking", lambda fd, blocking: unblocked.append((fd, blocking)))
    return unblocked


class ListeningFake:
    """A listening socket whose accept() follows a script; an empty one blocks."""

    def __init__(self, story, descriptors):
        self.script, self._story, self.descriptors = [], story, descriptors

    def _accept(self):
        self._story.append("accept()")
        item = self.script.pop(0) if self.script else BlockingIOError()
        if isinstance(item, OSError):
            raise item
        return self.descriptors.open(item), ADDRESS


class Written:
    """Cells that note what is written to them."""

    def __init__(self, story):
        self.cells, self._story = blank_cells(1, 2), story

    def __getitem__(self, index):
        return self.cells[index]

    def __setitem__(self, index, value):
        self._story.append((index, value))
        self.cells[index] = value


class Scene:
    def __init__(self):
        self.story, self.accepted, self.wakes = [], [], []
        self.loop, self.told = FakeLoop(), Told()
        self.descriptors = FakeDescriptors()
        self.sockets = [ListeningFake(self.story, self.descriptors) for _ in range(2)]
        self.turn = Turn()
        self.open = self.turn.open
        self.cells = Written(self.story)
        [self.row] = rows_of(self.cells, 1, 2)
        self.acceptor = Acceptor(
            self.sockets,
            [self.context(index) for index in range(2)],
            self.row,
            self.loop,
            self.told.telemetry,
            wake=lambda: self.wakes.append(self.row.get(REFUSING)),
        )

    def context(self, index):
        return ListenerContext(
            Listener(index, f"tcp://127.0.0.1:{7000 + index}", "echo"),
            worker=SimpleNamespace(pid=7, slot=0),
            loop=self.loop,
            on_accept=lambda connection: self.accepted.append((index, connection)) or True,
            on_readable=lambda connection: None,
            on_close=lambda connection, reason: None,
            on_drain=lambda connection, deadline: None,
            blame=lambda error: "echo",
            report=lambda *failure: None,
            on_end=lambda connection, reason: None,
            limits=ConnectionLimits(),
            turn=self.turn,
            **self.descriptors.calls(),
        )

    def accept(self, *script, listener=0, notifications=None):
        self.sockets[listener].script = list(script)
        self.acceptor.accept(listener, notifications or len(script))

    def counts(self, listener=0):
        """Claimed, settled, accepted, spurious, refused."""
        counters = (CLAIMED, SETTLED, ACCEPTED, SPURIOUS, REFUSED)
        return [self.row.count(listener, counter) for counter in counters]


def client(fd=7):
    return FakeSocket(fd=fd)


def test_as_many_are_accepted_as_notified(unblocked):
    scene = Scene()
    scene.accept(client(7), client(8), client(9))
    assert scene.counts() == [3, 3, 3, 0, 0]
    assert [scene.row.get(word) for word in (ACTIVE, CLAIMED_ALL, ACCEPTED_ALL)] == [3, 3, 3]
    assert [connection.id for _, connection in scene.accepted] == ["7-1", "7-2", "7-3"]
    assert len(scene.open) == 3
    assert set(scene.loop.watched) == {7, 8, 9}
    assert unblocked == [(7, False), (8, False), (9, False)]


def test_each_listener_has_counters_and_plugins_of_its_own():
    scene = Scene()
    scene.accept(client(7), listener=1)
    assert (scene.counts(0), scene.counts(1)) == ([0] * 5, [1, 1, 1, 0, 0])
    [(index, connection)] = scene.accepted
    assert index == 1
    assert connection.listener.index == 1
    assert connection.peer == "127.0.0.1:50211"


def test_a_notification_too_many_is_counted_as_spurious():
    scene = Scene()
    scene.accept(client(), notifications=3)
    assert scene.counts() == [3, 3, 1, 2, 0]
    assert scene.row.get(ACTIVE) == 1
    assert scene.told == []


@pytest.mark.parametrize(
    ("outcome", "script"),
    [
        (ACCEPTED, [client()]),
        (SPURIOUS, []),
        (REFUSED, [OSError(errno.ECONNABORTED, "aborted")]),
    ],
)
def test_counters_are_written_in_the_order_that_the_dispatch_model_has(outcome, script):
    """What tests/unit/test_dispatch_model.py proves is proved of these steps."""
    scene = Scene()
    scene.accept(*script, notifications=1)
    story = []
    cells = Written(story)
    [row] = rows_of(cells, 1, 2)

    def accept():
        story.append("accept()")
        return outcome

    for _ in accepting(row, 0, accept):
        pass
    assert scene.story == story


def test_an_aborted_connection_keeps_nobody_from_being_accepted():
    scene = Scene()
    scene.accept(OSError(errno.ECONNABORTED, "aborted"), client())
    assert scene.counts() == [2, 2, 1, 0, 1]
    assert scene.row.get(REFUSING) == 0
    [event] = scene.told.of(ACCEPT_FAILED)
    assert event["address"] == "tcp://127.0.0.1:7000"
    assert event["error"].startswith("ECONNABORTED (")
    assert event["consequence"] == "others go on"


@pytest.mark.parametrize("number", SHORT)
def test_without_capacity_a_worker_holds_back_for_a_moment(number):
    scene = Scene()
    scene.accept(OSError(number, "short"), OSError(number, "short"))
    assert scene.counts() == [2, 2, 0, 0, 2]
    assert (scene.row.get(ACTIVE), scene.row.get(REFUSING)) == (0, 1)
    [due] = scene.loop.due
    assert scene.wakes == []
    scene.loop.advance(due)
    assert scene.row.get(REFUSING) == 0
    assert scene.wakes == [0]
    [event] = scene.told.of(ACCEPT_FAILED)
    assert event["consequence"] == "connections wait until there is room"


def test_the_same_error_is_told_now_and_then_and_another_one_at_once():
    scene = Scene()
    for _ in range(5):
        scene.accept(OSError(errno.EMFILE, "short"))
        scene.loop.advance(scene.loop.now + 1)
    scene.accept(OSError(errno.ENFILE, "short"))
    assert len(scene.told.of(ACCEPT_FAILED)) == 2
    scene.loop.advance(scene.loop.now + 10)
    scene.accept(OSError(errno.EMFILE, "short"))
    assert len(scene.told.of(ACCEPT_FAILED)) == 3


def test_a_connection_that_cannot_be_watched_is_given_up():
    scene = Scene()
    sock = client()

    def full(fd, events, handler):
        raise OSError(errno.ENOSPC, "no watches left")

    scene.loop.add = full
    scene.accept(sock)
    assert sock.closed
    assert scene.row.get(ACTIVE) == 0
    assert (scene.accepted, scene.open) == ([], set())
    assert scene.row.get(REFUSING) == 1


@pytest.mark.parametrize("gate_shut", [True, False])
def test_what_comes_in_through_a_shut_gate_is_opened(gate_shut, monkeypatch):
    scene, reopened = Scene(), []
    monkeypatch.setattr("host.net.listeners.reopen", lambda sock: reopened.append(sock.family))
    scene.cells.cells[GATE_SHUT] = gate_shut
    one, other = socket.socketpair()
    with one, other:
        scene.accept(client(one.fileno()))
    assert reopened == ([socket.AF_UNIX] if gate_shut else [])
    assert len(scene.open) == 1
