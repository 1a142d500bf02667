"""What a message, a line and a connection cost in bytecodes, which no busy machine changes.

The limits are a tenth above what Python 3.11 counts; later versions have fewer and larger ones.
Every user pays for a limit that is raised.
"""

import socket
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from host.interfaces import Listener
from host.ipc.scoreboard import BYTES_IN, BYTES_OUT, CURRENT_CALL, Scoreboard
from host.ipc.series import OwnSeries
from host.metrics.declaring import DeclaredMetrics
from host.plugins.echo import Echo
from host.plugins.line import Line, Options
from host.runtime.loop import Loop
from host.settings import ConnectionLimits
from host.worker.acceptor import Acceptor
from host.worker.capacity import Capacity
from host.worker.connection import SocketConnection
from host.worker.context import ListenerContext, OpenConnections
from support.bytecodes import counted_bytecodes

CLIENTS = 20
MESSAGE = b"x" * 63 + b"\n"
BYTES = 16
"""What the two sums take for each message: one addition for what is read, and one for what is sent.
They are the only thing in the limits that not everybody asked for (decision 36)."""
PIECES = 2
"""What a write takes to find that it was given one piece."""
BYTES_OF_A_LIFE = 66
"""What they take for each connection: to begin with nothing, and to be added to the scoreboard."""


class Scene:
    """The parts of a worker that see messages, with real sockets."""

    def __init__(self, stack, on_readable, on_accept=None):
        self.loop = Loop(1000)
        stack.callback(self.loop.close)
        self.board = Scoreboard(1)
        stack.callback(self.board.close)
        self.row = self.board.use(0, 0)
        self.connections = OpenConnections()
        self.touched, self.open = self.connections.touched, self.connections.open
        self.telemetry = SimpleNamespace(emit=print)
        self.capacity = Capacity(self.row, self.connections, self.loop, wake=print)
        self.context = ListenerContext(
            Listener(0, "tcp://127.0.0.1:7000", "echo"),
            worker=SimpleNamespace(pid=1, slot=0),
            loop=self.loop,
            on_accept=on_accept,
            on_readable=on_readable,
            on_close=None,
            on_drain=print,
            blame=repr,
            report=lambda *failure: pytest.fail(str(failure)),
            on_end=self.capacity.connection_ended,
            limits=ConnectionLimits(),
            connections=self.connections,
            cells=self.row.cells,
            call_cell=self.row.index(CURRENT_CALL),
            bytes_in_cell=self.row.cell(0, BYTES_IN),
            bytes_out_cell=self.row.cell(0, BYTES_OUT),
        )
        self.loop.on_turn_end = self._on_turn_end

    def _on_turn_end(self):
        for connection in self.touched:
            connection.follow_up()
        self.touched.clear()

    def connect(self, stack):
        """Return a client whose connection is served."""
        ours, client = socket.socketpair()
        stack.enter_context(client)
        ours.setblocking(False)
        connection = SocketConnection(ours.detach(), "", 1, self.context)
        connection.watch()
        connection.begin()
        stack.callback(connection.close_in_fork)
        return client


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


def cost_of(scene, clients, message):
    """Return how many bytecodes one message takes, and check that it is answered."""
    for _ in range(20):  # the interpreter adapts
        for client in clients:
            client.send(message)
        scene.loop.run_once(0)
        for client in clients:
            assert client.recv(len(message)) == message
    for client in clients:
        client.send(message)
    with counted_bytecodes() as counts:
        scene.loop.run_once(0)
    return counts.total / len(clients)


def echo():
    return Echo().on_readable


def lines(on_line, *, needs_connection=True):
    taken = {"connection", "line"} if needs_connection else {"line"}

    def hook(_name, _plugins, arguments=("connection", "line", "words")):
        if not taken <= {*arguments}:
            return None
        return (lambda line, _: on_line(line)) if arguments == ("line", "words") else on_line

    line = Line(Options())
    metrics = DeclaredMetrics(OwnSeries()).of("line")
    line.on_host_start(SimpleNamespace(hook=hook, metrics=metrics))

    def on_accept(connection):
        line.on_accept(connection)
        return True

    return line.on_readable, on_accept


def writes_lines():
    def on_line(connection, line):
        connection.write(line + b"\n")
        return True

    return lines(on_line)


def returns_lines():
    return lines(lambda line: line + b"\n", needs_connection=False)


def test_a_message(stack):
    scene = Scene(stack, echo())
    clients = [scene.connect(stack) for _ in range(CLIENTS)]
    assert cost_of(scene, clients, MESSAGE) <= 178 + BYTES


def test_a_large_message(stack):
    scene = Scene(stack, echo())
    clients = [scene.connect(stack) for _ in range(CLIENTS)]
    assert cost_of(scene, clients, 16 * 1024 * b"x") <= 178 + BYTES


@pytest.mark.parametrize(
    ("kind", "alone", "sixteen"), [(writes_lines, 287, 1684), (returns_lines, 274, 400)]
)
def test_lines(stack, kind, alone, sixteen):
    scene = Scene(stack, *kind())
    clients = [scene.connect(stack) for _ in range(CLIENTS)]
    assert cost_of(scene, clients, MESSAGE) <= alone + BYTES + PIECES
    assert cost_of(scene, clients, 16 * MESSAGE) <= sixteen + BYTES + 16 * PIECES


def test_a_connection_from_its_notification_to_its_end(stack):
    scene = Scene(stack, echo())
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=CLIENTS))
    server.setblocking(False)
    acceptor = Acceptor(
        [server], [scene.context], scene.row, scene.loop, scene.telemetry, scene.capacity
    )

    def life(client):
        acceptor.accept(0, 1)
        scene.loop.run_once(1)
        client.close()
        scene.loop.run_once(1)
        assert not scene.open

    def connected():
        client = socket.create_connection(server.getsockname())
        client.send(MESSAGE)
        return stack.enter_context(client)

    for _ in range(20):
        life(connected())
    client = connected()
    with counted_bytecodes() as counts:
        life(client)
    assert counts.total <= 1220 + BYTES + BYTES_OF_A_LIFE
