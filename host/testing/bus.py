"""The bus in memory: the host's own hub and workers' ends, with a queue between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

from host.bus.frames import FENCE, Channel, Frame, Kind, Parser, name_bytes
from host.bus.hub import Hub
from host.bus.tables import READS, Request
from host.bus.worker_end import LocalBus
from host.interfaces import BUS_LEFT
from host.runtime.loop import READ, Loop
from host.testing.loop import FakeLoop

_CLAIM_SECONDS = 2.0
"""When a claim is refused while the broker is away, as by the settings' default."""
_STRANGER = 0
"""A member of another host; the number is no worker's."""


@dataclass(slots=True, eq=False)
class _Unsent:
    """What waits for the broker: a frame of a member, or its end (None)."""

    member: int
    frame: Frame | None


class MemoryBus:
    """What connects the workers of a test.

    It also plays what only happens where a broker connects several hosts: see `away`, `take_key`
    and `declare_left`.

    Attributes:
        overloaded: while it is true whatever workers send is dropped: `publish` returns False
            and `subscribe` raises BlockingIOError.
    """

    def __init__(self) -> None:
        self._lines: dict[int, _Line] = {}
        self._hub = Hub(self._send)
        self._away = False
        self._unsent: deque[_Unsent] = deque()
        self.overloaded = False

    @property
    def away(self) -> bool:
        """Whether the broker is away; a test sets it.

        While it is, messages, subscriptions and changes of tables wait, a claim is refused after
        2 s, and what a table has is not known. When it is back, what has waited is done in its
        order.
        """
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        self._away = away
        while self._unsent and not self._away:
            unsent = self._unsent.popleft()
            self._pass_on(unsent.member, unsent.frame)

    def take_key(self, key: str) -> None:
        """Have a member of another host own a key from now on.

        The worker that has owned it hears its name on the topic `BUS_TAKEN`, as after it was cut
        off from the broker for so long that it was taken for dead.
        """
        name = name_bytes(key)
        owner = dict(self._hub.state().owners).get(name)
        if owner is not None:
            self._hub.receive(owner, Frame(Kind.RELEASE, 0, name))
            self._send(owner, Frame(Kind.TAKEN, 0, name).pack())
        self._hub.receive(_STRANGER, Frame(Kind.OWN, 0, name))

    def declare_left(self, member: int) -> None:
        """Have all hear that a worker has left (`BUS_LEFT`) though it lives on, itself as well.

        That is what members hear of a host that was cut off from the broker for so long that it
        was taken for dead. The worker goes on to own what it owns: give that to others with
        `take_key`.
        """
        self._pass_on(member, Frame(Kind.PUBLISH, 0, BUS_LEFT.encode(), b"%d" % member))

    def join(
        self, member: int, loop: FakeLoop, isolated: Callable[[Callable[[], object]], None]
    ) -> LocalBus:
        """Return the end of a worker, which goes by the number `member`."""
        line = _Line(self, member, loop)
        loop.attach(line.fileno(), line)
        self._lines[member] = line
        self._hub.join(member)
        return LocalBus(line, cast("Loop", loop), str(member), isolated)

    def leave(self, member: int) -> None:
        """Let a worker die: it owns nothing any more, and the others are told."""
        if self._lines.pop(member, None) is not None:
            self._do(member, None)

    def take(self, member: int, packed: bytes) -> bool:
        """Take what a worker sends."""
        if self.overloaded:
            return False
        if member in self._lines:
            for frame in Parser(packed).frames():
                self._do(member, frame)
        return True

    def _do(self, member: int, frame: Frame | None) -> None:
        """Pass on what a member says, or keep it until the broker is back."""
        if not self._away:
            self._pass_on(member, frame)
        elif frame is not None and _reads_table(frame):
            self._send(member, Frame(Kind.NO_ANSWER, frame.number, b"").pack())
        else:
            unsent = _Unsent(member, frame)
            self._unsent.append(unsent)
            if frame is not None and frame.kind == Kind.OWN:
                self._lines[member].loop.call_later(_CLAIM_SECONDS, lambda: self._refuse(unsent))

    def _pass_on(self, member: int, frame: Frame | None) -> None:
        if frame is None:
            self._hub.leave(member)
        else:
            self._hub.receive(member, frame)

    def _refuse(self, unsent: _Unsent) -> None:
        """Refuse a claim that has waited for too long."""
        if unsent in self._unsent and unsent.frame is not None:
            self._unsent.remove(unsent)
            refusal = Frame(Kind.OWNED, 0, unsent.frame.name, FENCE.pack(0))
            self._send(unsent.member, refusal.pack())

    def _send(self, member: int, packed: bytes) -> bool:
        if member in self._lines:
            self._lines[member].arrived.append(packed)
        return member in self._lines


def _reads_table(frame: Frame) -> bool:
    return frame.kind == Kind.TABLE and Request.unpack(frame.payload).op in READS


class _Line(Channel):
    """A worker's channel to the hub, without a socket."""

    def __init__(self, bus: MemoryBus, member: int, loop: FakeLoop) -> None:
        self._bus, self._member, self._fd, self.loop = bus, member, loop.number(), loop
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
