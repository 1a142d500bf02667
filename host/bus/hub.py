"""The hub of the embedded bus, in the supervisor: who hears what, who owns what. No I/O.

Frames of workers go in (`receive`), frames for workers come out through `send`. Every message
passes the hub, also on its way back to the worker that sent it: so there is one order of the
messages of a topic, the same for all. State is bounded: what waits for a worker by its channel,
what is retained by `HubLimits` (the topic published to longest ago goes first).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

from host.bus.frames import Frame, Kind
from host.interfaces import BUS_LEFT

_RING_BYTES = 1_500
_MESSAGE_BYTES = 120
"""About what an empty ring and an empty message cost (CPython, 64 bits)."""

Send = Callable[[int, bytes], object]


class _Ring:
    """The retained messages of one topic: sender and payload of each."""

    __slots__ = ("messages", "size")

    def __init__(self) -> None:
        self.messages: deque[tuple[int, bytes]] = deque()
        self.size = _RING_BYTES

    def add_message(self, sender: int, payload: bytes, keep: int) -> int:
        """Add a message, keep the last `keep`; return by how many bytes the ring has grown."""
        before = self.size if self.messages else 0
        self.messages.append((sender, payload))
        self.size += len(payload) + _MESSAGE_BYTES
        while len(self.messages) > keep:
            self.size -= len(self.messages.popleft()[1]) + _MESSAGE_BYTES
        return self.size - before


class HubLimits(NamedTuple):
    """How much a hub keeps.

    Attributes:
        retained: messages of one topic that are retained at most.
        retained_bytes: bytes that all retained messages take at most, with what Python needs for
            each.
        keys: keys that may have an owner at the same time.
    """

    retained: int = 1000
    retained_bytes: int = 67_108_864
    keys: int = 1_000_000


_LIMITS = HubLimits()


class HubState(NamedTuple):
    """What a hub knows: who hears which topic, who owns which key, what is retained."""

    hearers: list[tuple[bytes, list[int]]]
    owners: list[tuple[bytes, int]]
    rings: list[tuple[bytes, list[tuple[int, bytes]]]]


class Hub:
    """Knows the members (worker processes, by pid), their subscriptions and the keys that they own.

    Args:
        send: takes the number of a member and a packed frame for it.
        limits: how much it keeps.
    """

    def __init__(self, send: Send, limits: HubLimits = _LIMITS) -> None:
        self._send, self._limits = send, limits
        self._members: set[int] = set()
        self._hearers: dict[bytes, dict[int, None]] = {}
        self._owners: dict[bytes, int] = {}
        self._rings: OrderedDict[bytes, _Ring] = OrderedDict()
        self._retained = 0

    def state(self) -> HubState:
        """Return all that is known, for the hub that takes over."""
        return HubState(
            hearers=[(topic, list(members)) for topic, members in self._hearers.items()],
            owners=list(self._owners.items()),
            rings=[(topic, list(ring.messages)) for topic, ring in self._rings.items()],
        )

    def restore(self, state: HubState) -> None:
        """Take over; the members join one by one, before or after."""
        for topic, members in state.hearers:
            self._hearers[topic] = dict.fromkeys(members)
        self._owners.update(state.owners)
        for topic, messages in state.rings:
            for sender, payload in messages:
                self._retain(topic, sender, payload, self._limits.retained)

    def join(self, member: int) -> None:
        """Take in a member."""
        self._members.add(member)

    def leave(self, member: int) -> None:
        """Forget a member: what it owns is free, and the others are told (topic `BUS_LEFT`)."""
        if member not in self._members:
            return
        self._members.discard(member)
        for topic in [topic for topic, members in self._hearers.items() if member in members]:
            self._unsubscribe(member, topic)
        for key in [key for key, owner in self._owners.items() if owner == member]:
            del self._owners[key]
        self._broadcast(BUS_LEFT.encode(), member, str(member).encode())

    def receive(self, member: int, frame: Frame) -> None:
        """Do what a member asks for."""
        match frame.kind:
            case Kind.PUBLISH:
                if frame.number:
                    self._retain(frame.name, member, frame.payload, frame.number)
                self._broadcast(frame.name, member, frame.payload)
            case Kind.SUBSCRIBE:
                self._subscribe(member, frame.name, frame.number)
            case Kind.UNSUBSCRIBE:
                self._unsubscribe(member, frame.name)
            case Kind.OWN:
                self._own(member, frame.name)
            case Kind.RELEASE:
                if self._owners.get(frame.name) == member:
                    del self._owners[frame.name]

    def _broadcast(self, topic: bytes, sender: int, payload: bytes) -> None:
        hearers = self._hearers.get(topic)
        if hearers:
            packed = Frame(Kind.MESSAGE, sender, topic, payload).pack()
            for member in hearers:
                self._send(member, packed)

    def _subscribe(self, member: int, topic: bytes, subscription: int) -> None:
        ring = self._rings.get(topic)
        for sender, payload in ring.messages if ring else ():
            whole = sender.to_bytes(4, "little") + payload
            self._send(member, Frame(Kind.RETAINED, subscription, topic, whole).pack())
        self._hearers.setdefault(topic, {})[member] = None
        self._send(member, Frame(Kind.SUBSCRIBED, subscription, topic).pack())

    def _unsubscribe(self, member: int, topic: bytes) -> None:
        hearers = self._hearers.get(topic, {})
        hearers.pop(member, None)
        if not hearers:
            self._hearers.pop(topic, None)

    def _own(self, member: int, key: bytes) -> None:
        free = key not in self._owners and len(self._owners) < self._limits.keys
        if free:
            self._owners[key] = member
        self._send(member, Frame(Kind.OWNED, int(free), key).pack())

    def _retain(self, topic: bytes, sender: int, payload: bytes, keep: int) -> None:
        ring = self._rings.setdefault(topic, _Ring())
        self._rings.move_to_end(topic)
        self._retained += ring.add_message(sender, payload, min(keep, self._limits.retained))
        while self._retained > self._limits.retained_bytes and self._rings:
            self._retained -= self._rings.popitem(last=False)[1].size
