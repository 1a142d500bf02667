"""Generations on a loop whose time is set by the test; listeners and scoreboards are real."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from typing import Any

from host.dispatch.dispatcher import DispatchPolicy
from host.dispatch.runner import Send
from host.interfaces import Listener
from host.net.listeners import ListeningSocket, inherit_listener, open_listener
from host.settings import Listen
from host.supervisor.dispatch_setup import DispatchSetup
from host.supervisor.generation import Generation
from host.supervisor.generations import Generations
from host.telemetry.emitter import Telemetry
from support.fakes import FakeLoop, Told

ANY_PORT = Listen(address="tcp://127.0.0.1:0")


def listening(count: int = 1) -> list[ListeningSocket]:
    """Open so many listeners, each on a port of its own."""
    return [open_listener(ANY_PORT, index, "echo") for index in range(count)]


def again(listeners: list[ListeningSocket]) -> list[ListeningSocket]:
    """Return what another generation has of the same sockets."""
    return [
        inherit_listener(
            each.sock, ANY_PORT, Listener(index, each.view.address, each.view.plugin), each.file
        )
        for index, each in enumerate(listeners)
    ]


def connect(listener: ListeningSocket) -> socket.socket:
    """Connect to a listener; nobody accepts it."""
    return socket.create_connection(listener.sock.getsockname())


def dispatching(loop: Any, telemetry: Telemetry, send: Send) -> DispatchSetup:
    """Return how generations hand out: to the first worker, which may hold ten connections."""
    return DispatchSetup(
        loop,
        telemetry,
        [("first", lambda _listener, workers: workers[0])],
        DispatchPolicy(max_connections=10, missed_claim_seconds=1.0),
        send,
        report=lambda *_failure: None,
    )


def is_closed(generation):
    """Tell whether a generation's scoreboard is closed."""
    try:
        generation.scoreboard.cells[0]
    except ValueError:  # a memoryview that was released
        return True
    return False


@contextmanager
def same_descriptors():
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before


class Scene:
    """Generations on a loop; `sent` are the notifications, `switched` counts switches."""

    def __init__(self):
        self.loop, self.told = FakeLoop(100.0), Told()
        self.sent, self.switched = [], 0
        self.setup = dispatching(self.loop, self.told.telemetry, self._send)
        self.generations = None

    def generation(self, number, sockets, workers=0):
        """Make a generation that can hand out, with so many rows in use."""
        made = Generation(number, [each.view for each in sockets], sockets)
        self.setup.prepare(made)
        for slot in range(workers):
            made.take_row(slot)
        return made

    def serve(self, listeners=1, workers=0):
        """Have generation 0 serve alone."""
        serving = self.generation(0, listening(listeners), workers)
        serving.handing_out.runner.start()
        self.generations = Generations(self.loop, self.told.telemetry, serving)
        return serving

    def reload(self, kept=1, lost=0, workers=0):
        """Have generation 0 serve, and 1 come, which has `kept` of its listeners."""
        sockets = listening(kept + lost)
        serving = self.generation(0, sockets, workers)
        serving.handing_out.runner.start()
        coming = self.generation(1, again(sockets[:kept]))
        coming.began = 99.0
        self.generations = Generations(self.loop, self.told.telemetry, serving, coming=coming)
        return serving, coming

    def _send(self, pid, data):
        self.sent.append((pid, data))
        return True

    def switch(self):
        self.generations.switch(self._count, quiet_seconds=0.5)

    def _count(self):
        self.switched += 1

    @property
    def numbers(self):
        """Which generations there are: those that drain, the one that serves, the one coming."""
        found = self.generations
        coming = found.coming and found.coming.number
        return [each.number for each in found.older], found.serving.number, coming
