"""Connections over scripted sockets, and what the worker and the plugins are to them."""

import errno
from contextlib import suppress
from types import SimpleNamespace

from host.interfaces import Listener
from host.runtime.loop import READ
from host.settings import ConnectionLimits
from host.worker.connection import SocketConnection
from host.worker.context import ListenerContext, OpenConnections
from host.worker.unsent import UnsentBytes
from support.fakes import FakeDescriptors, FakeLoop, FakeSocket

HANG_UP = 0x18  # EPOLLERR | EPOLLHUP
RESET = ConnectionResetError(errno.ECONNRESET, "reset")
PIPE = BrokenPipeError(errno.EPIPE, "broken pipe")


def limits_of(**sizes):
    """Make the settings `[connection]`; the low-water mark is never above the high one."""
    given = {f"{name}_bytes": size for name, size in sizes.items()}
    if "high_water" in sizes:
        given.setdefault("low_water_bytes", min(65_536, sizes["high_water"]))
    return ConnectionLimits(**given)


class KeptLosses:
    """Keeps what connections tell of bytes that cannot arrive."""

    def __init__(self):
        self.late, self.cuts = [], []

    def written_late(self, connection, size):
        self.late.append((connection, size))

    def cut(self, connection, reason, size):
        self.cuts.append((connection, reason, size))


class Worker:
    """What the worker and the plugins are to connections; what happens is kept in lists.

    A test may replace `accept`, `handler` and `on_drain` at any time.
    """

    def __init__(self, *, unsent_in_all=0, **limits):
        self.loop, self.descriptors = FakeLoop(), FakeDescriptors()
        self.ends, self.closes, self.reports = [], [], []
        self.losses = KeptLosses()
        connections = OpenConnections(unsent=UnsentBytes(unsent_in_all))
        self.touched, self.stalled = connections.touched, connections.stalled
        self.accept = lambda connection: True
        self.handler = lambda connection: connection.read()
        self.on_drain = lambda connection, deadline: None
        self.context = ListenerContext(
            Listener(0, "tcp://127.0.0.1:7000", "echo"),
            worker=SimpleNamespace(pid=4711, slot=1),
            loop=self.loop,
            on_accept=self._accept,
            on_readable=self._handle,
            on_close=lambda *args: self.closes.append(args),
            on_drain=self._drain,
            blame=lambda error: "culprit",
            report=lambda *failure: self.reports.append(failure),
            on_end=lambda *args: self.ends.append(args),
            limits=limits_of(**limits),
            connections=connections,
            losses=self.losses,
            **self.descriptors.calls(),
        )
        self._serial = 0

    def _accept(self, connection):
        return self.accept(connection)

    def _handle(self, connection):
        self.handler(connection)

    def _drain(self, connection, deadline):
        with suppress(SystemExit):  # like every hook that is told, it is isolated
            self.on_drain(connection, deadline)

    def connect(self, *arrives, takes=(), address=("127.0.0.1", 50211)):
        """Accept a connection; return it and its socket."""
        self._serial += 1
        sock = FakeSocket(arrives, takes, fd=6 + self._serial)
        fd = self.descriptors.open(sock)
        connection = SocketConnection(fd, address, self._serial, self.context)
        connection.watch()
        connection.begin()
        return connection, sock

    def event(self, connection, mask=READ):
        """Let the loop report an event, of which only what is watched for or a hang-up shows."""
        watched = self.loop.watched.get(connection.fileno())
        assert watched is not None, "nothing is reported of what is not watched"
        mask &= watched | HANG_UP
        assert mask, "nothing happens that is watched for"
        connection.on_event(mask)

    def end_turn(self):
        """End the turn, as the worker does."""
        for connection in self.touched:
            connection.follow_up()
        self.touched.clear()

    def turn(self, connection, mask=READ):
        self.event(connection, mask)
        self.end_turn()

    @property
    def reasons(self):
        return [reason for _, reason in self.closes]


def writes(*chunks):
    """Return a handler that reads and then writes `chunks`."""

    def handler(connection):
        connection.read()
        for chunk in chunks:
            connection.write(chunk)

    return handler


def takes_of(script):
    """Return what each send of a scripted socket takes; `block` is that it would block."""
    return [BlockingIOError() if item == "block" else item for item in script]
