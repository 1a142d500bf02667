"""Workers' ends of the bus and the supervisor's, over socket pairs, in one loop run by hand."""

from __future__ import annotations

import functools
import socket
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from host import Message
from host.bus.frames import Channel
from host.bus.supervisor_end import BusRouter, MessageCounts
from host.bus.worker_end import LocalBus
from host.runtime.loop import Loop
from host.text import named
from support.fakes import Told

_COUNTED: Any = ("published", "delivered", "dropped")


class Buses:
    """A router with the ends of some workers.

    Args:
        members: the workers' numbers.
        max_queued: how many bytes may wait in a worker's end; None is as many as usual.

    Attributes:
        loop: the loop of all of them.
        told: the telemetry of the router.
        failures: what callbacks have raised.
        blamed: the module and the name of each of those callbacks, as the log has them.
        router: the supervisor's end.
        sockets: each worker's socket, by its number.
        buses: each worker's end, by its number.
        counts: how many messages of each worker, by its number, were "published", "delivered" to
            it, "dropped" before it, and "refused" by its own end.
    """

    def __init__(self, members: Sequence[int], max_queued: int | None = None) -> None:
        self.loop, self.told = Loop(), Told()
        self.failures: list[Exception] = []
        self.blamed: list[tuple[str, str]] = []
        self.router = BusRouter(self.loop, self.told.telemetry)
        self.buses: dict[int, LocalBus] = {}
        self.counts: dict[int, Counter[str]] = defaultdict(Counter)
        self.sockets: dict[int, socket.socket] = {}
        self._max_queued = max_queued
        for member in members:
            self.add(member)

    def add(self, member: int) -> LocalBus:
        """Have one more worker; return its end."""
        ours, theirs = socket.socketpair()
        cells: Any = self.counts[member]
        self.router.add(member, ours, counts=MessageCounts(cells, *_COUNTED))
        self.sockets[member] = theirs
        channel = Channel(theirs) if self._max_queued is None else Channel(theirs, self._max_queued)
        refused = functools.partial(cells.update, ["refused"])
        self.buses[member] = LocalBus(
            channel, self.loop, str(member), self._isolated, refused=refused
        )
        return self.buses[member]

    def _isolated(self, function: Callable[[], object]) -> None:
        try:
            function()
        except Exception as error:
            self.failures.append(error)
            self.blamed.append(named(function))

    def run(self, turns: int = 20) -> None:
        """Run so many turns of the loop; each end sends what has been queued in it."""
        for _ in range(turns):
            for bus in self.buses.values():
                bus.flush()
            self.loop.run_once(0)
            self.router.pass_on()

    def kill(self, member: int) -> None:
        """End a worker: its end closes, the supervisor reaps it."""
        bus = self.buses.pop(member)
        self.loop.remove(self.sockets[member].fileno())
        bus.close()
        self.router.remove(member)

    def close(self) -> None:
        """Close all ends, then the loop."""
        for bus in self.buses.values():
            bus.close()
        self.router.close()
        self.loop.close()


@contextmanager
def connected(*members: int, max_queued: int | None = None) -> Iterator[Buses]:
    """Connect these workers, or 1, 2 and 3; close everything at the end."""
    scene = Buses(members or (1, 2, 3), max_queued)
    try:
        yield scene
    finally:
        scene.close()


class Subscriber:
    """Subscribes to a topic, and keeps what it hears, with "ready" where it was told that."""

    def __init__(self, bus: LocalBus, topic: str, *, prefix: bool = False) -> None:
        self.heard: list[Message | str] = []
        ready = lambda: self.heard.append("ready")  # noqa: E731
        bus.subscribe(topic, self.heard.append, ready, prefix=prefix)

    @property
    def payloads(self) -> list[bytes | str]:
        """The payloads of what it has heard."""
        return [each if isinstance(each, str) else each.payload for each in self.heard]
