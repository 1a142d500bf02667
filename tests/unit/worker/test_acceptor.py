"""Each notification is claimed before accept() and settled after it; nothing is told too often."""

import errno
import os
import socket
from contextlib import ExitStack
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
from host.net.sockets import borrow
from host.settings import ConnectionLimits
from host.telemetry.events import ACCEPT_FAILED
from host.worker.acceptor import Acceptor
from host.worker.capacity import Capacity
from host.worker.context import ListenerContext, OpenConnections
from support.dispatch_world import accepting
from support.fakes import FakeLoop, Told, blank_cells, rows_of

SHORT = [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM]
ADDRESS = ("127.0.0.1", 50211)
IP_MINTTL = 21


class ListeningFake:
    """A listening socket whose accept() follows a script; an empty one blocks."""

    def __init__(self, story):
        self.script, self._story = [], story

    def _accept(self):
        self._story.append("accept()")
        item = self.script.pop(0) if self.script else BlockingIOError()
        if isinstance(item, OSError):
            raise item
        return item.detach(), ADDRESS


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
    """An acceptor with two listeners, whose clients are real sockets."""

    def __init__(self, stack):
        self.story, self.accepted, self.wakes, self._stack = [], [], [], stack
        self.loop, self.told = FakeLoop(), Told()
        self.sockets = [ListeningFake(self.story) for _ in range(2)]
        self.connections = OpenConnections()
        self.open = self.connections.open
        self.cells = Written(self.story)
        [self.row] = rows_of(self.cells, 1, 2)
        telemetry = self.told.telemetry
        self.capacity = Capacity(self.row, self.connections, self.loop, wake=self._wake)
        contexts = [self.context(index) for index in range(2)]
        self.acceptor = Acceptor(
            self.sockets, contexts, self.row, self.loop, telemetry, self.capacity
        )
        stack.callback(self._close)

    def _wake(self):
        self.wakes.append(self.row.get(REFUSING))

    def _close(self):
        for connection in self.open:
            connection.close_in_fork()

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
            connections=self.connections,
        )

    def client(self):
        """Return the host's end of a connection, which accept() hands out; the peer stays open."""
        ours, theirs = socket.socketpair()
        self._stack.enter_context(ours)
        self._stack.enter_context(theirs)
        return ours

    def accept(self, *script, listener=0, notifications=None):
        self.sockets[listener].script = list(script)
        self.acceptor.accept(listener, notifications or len(script))

    def counts(self, listener=0):
        """Claimed, settled, accepted, spurious, refused."""
        counters = (CLAIMED, SETTLED, ACCEPTED, SPURIOUS, REFUSED)
        return [self.row.count(listener, counter) for counter in counters]


@pytest.fixture
def scene():
    with ExitStack() as stack:
        yield Scene(stack)


def test_where_no_more_can_be_decided_on_they_are_left_to_others(scene):
    room = [scene.client(), scene.client()]
    begun = []
    scene.acceptor.ask_first(0, lambda fd, *_: begun.append(fd), lambda: len(begun) == 1)
    scene.accept(*room)
    assert scene.counts() == [2, 2, 1, 1, 0]
    assert len(begun) == 1
    os.close(begun[0])


def test_as_many_are_accepted_as_notified(scene):
    clients = [scene.client() for _ in range(3)]
    descriptors = [client.fileno() for client in clients]
    scene.accept(*clients)
    assert scene.counts() == [3, 3, 3, 0, 0]
    assert [scene.row.get(word) for word in (ACTIVE, CLAIMED_ALL, ACCEPTED_ALL)] == [3, 3, 3]
    assert [connection.id for _, connection in scene.accepted] == ["7-1", "7-2", "7-3"]
    assert len(scene.open) == 3
    assert list(scene.loop.watched) == descriptors
    assert [os.get_blocking(descriptor) for descriptor in descriptors] == [False] * 3


def test_each_listener_has_counters_and_plugins_of_its_own(scene):
    scene.accept(scene.client(), listener=1)
    assert (scene.counts(0), scene.counts(1)) == ([0] * 5, [1, 1, 1, 0, 0])
    [(index, connection)] = scene.accepted
    assert index == 1
    assert connection.listener.index == 1
    assert connection.peer == "127.0.0.1:50211"


def test_a_notification_too_many_is_counted_as_spurious(scene):
    scene.accept(scene.client(), notifications=3)
    assert scene.counts() == [3, 3, 1, 2, 0]
    assert scene.row.get(ACTIVE) == 1
    assert scene.told == []


@pytest.mark.parametrize(
    ("outcome", "script"),
    [
        (ACCEPTED, lambda scene: [scene.client()]),
        (SPURIOUS, lambda scene: []),
        (REFUSED, lambda scene: [OSError(errno.ECONNABORTED, "aborted")]),
    ],
)
def test_counters_are_written_in_the_order_that_the_dispatch_model_has(scene, outcome, script):
    """What tests/unit/test_dispatch_model.py proves is proved of these steps."""
    scene.accept(*script(scene), notifications=1)
    story = []
    cells = Written(story)
    [row] = rows_of(cells, 1, 2)

    def accept():
        story.append("accept()")
        return outcome

    for _ in accepting(row, 0, accept):
        pass
    assert scene.story == story


def test_an_aborted_connection_keeps_nobody_from_being_accepted(scene):
    scene.accept(OSError(errno.ECONNABORTED, "aborted"), scene.client())
    assert scene.counts() == [2, 2, 1, 0, 1]
    assert scene.row.get(REFUSING) == 0
    [event] = scene.told.of(ACCEPT_FAILED)
    assert event["address"] == "tcp://127.0.0.1:7000"
    assert event["error"].startswith("ECONNABORTED (")
    assert event["consequence"] == "others go on"


@pytest.mark.parametrize("number", SHORT)
def test_without_capacity_a_worker_holds_back_for_a_moment(scene, number):
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


def test_the_same_error_is_told_now_and_then_and_another_one_at_once(scene):
    for _ in range(5):
        scene.accept(OSError(errno.EMFILE, "short"))
        scene.loop.advance(scene.loop.now + 1)
    scene.accept(OSError(errno.ENFILE, "short"))
    assert len(scene.told.of(ACCEPT_FAILED)) == 2
    scene.loop.advance(scene.loop.now + 10)
    scene.accept(OSError(errno.EMFILE, "short"))
    assert len(scene.told.of(ACCEPT_FAILED)) == 3


def test_a_connection_that_cannot_be_watched_is_given_up(scene):
    client = scene.client()
    descriptor = client.fileno()

    def full(fd, events, handler):
        raise OSError(errno.ENOSPC, "no watches left")

    scene.loop.add = full
    scene.accept(client)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    assert scene.row.get(ACTIVE) == 0
    assert (scene.accepted, scene.open) == ([], set())
    assert scene.row.get(REFUSING) == 1


@pytest.mark.parametrize("gate_shut", [True, False])
def test_what_comes_in_through_a_shut_gate_is_opened(scene, gate_shut):
    scene.cells.cells[GATE_SHUT] = gate_shut
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()),
    ):
        accepted, _ = server.accept()
        # An accepted socket inherits this from a listener whose gate is shut.
        accepted.setsockopt(socket.IPPROTO_IP, IP_MINTTL, 255)
        scene.accept(accepted)
        [connection] = scene.open
        with borrow(connection.fileno()) as sock:
            least = sock.getsockopt(socket.IPPROTO_IP, IP_MINTTL)
    assert least == (0 if gate_shut else 255)
