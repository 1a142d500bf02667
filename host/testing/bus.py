"""The bus in memory: the host's own hub and workers' ends, with a queue between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import cast

from host.bus.frames import Channel, Frame, Parser
from host.bus.hub import Hub
from host.bus.worker_end import LocalBus
from host.runtime.loop import READ, Loop
from host.testing.loop import FakeLoop


class MemoryBus:
    """What connects the workers of a test.

    Attributes:
        overloaded: while it is true whatever workers send is dropped: `publish` returns False
            and `subscribe` raises BlockingIOError.
    """

    def __init__(self) -> None:
        self._lines: dict[int, _Line] = {}
        self._hub = Hub(self._send)
        self.overloaded = False

    def join(
        self, member: int, loop: FakeLoop, isolated: Callable[[Callable[[], object]], None]
    ) -> LocalBus:
        """Return the end of a worker, which goes by the number `member`."""
        line = _Line(self, member, loop.number())
        loop.attach(line.fileno(), line)
        self._lines[member] = line
        self._hub.join(member)
        return LocalBus(line, cast("Loop", loop), str(member), isolated)

    def leave(self, member: int) -> None:
        """Let a worker die: it owns nothing any more, and the others are told."""
        if self._lines.pop(member, None) is not None:
            self._hub.leave(member)

    def take(self, member: int, packed: bytes) -> bool:
        """Take what a worker sends."""
        if self.overloaded:
            return False
        if member in self._lines:
            for frame in Parser(packed).frames():
                self._hub.receive(member, frame)
        return True

    def _send(self, member: int, packed: bytes) -> bool:
        if member in self._lines:
            self._lines[member].arrived.append(packed)
        return member in self._lines


class _Line(Channel):
    """A worker's channel to the hub, without a socket."""

    def __init__(self, bus: MemoryBus, member: int, number: int) -> None:
        self._bus, self._member, self._fd = bus, member, number
        self.arrived: deque[bytes] = deque()
        self.queue = deque()  # the hub takes everything at once
        self.dropped = 0

    def ready(self) -> int:
        """Return the events that epoll would tell."""
        return READ if self.arrived else 0

    def fileno(self) -> int:
        """Return the number it goes by in the loop."""
        return self._fd

    def put(self, packed: bytes) -> bool:
        """Hand a frame to the hub."""
        taken = self._bus.take(self._member, packed)
        self.dropped += not taken
        return taken

    def receive(self) -> int:
        """Do nothing: what has come is there."""
        return 0

    def frames(self) -> Iterator[Frame]:
        """Return an iterator over the frames that have come so far."""
        data = b"".join(self.arrived)
        self.arrived.clear()
        return Parser(data).frames()

    def close(self) -> None:
        """Do nothing: there is no socket."""
