"""The hub of the embedded bus, in the supervisor: who hears, owns and keeps what. No I/O.

Frames of workers go in (`receive`), frames for workers come out through `send`. Every message
passes the hub, also on its way back to the worker that sent it: so there is one order of the
messages of a topic, the same for all. State is bounded: what waits for a worker by its channel,
what is retained by `HubLimits` (the topic published to longest ago goes first), tables by theirs.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from host.bus.frames import FENCE, Frame, Kind, packed, with_sender
from host.bus.hearers import Hearers
from host.bus.tables import DONE, Op, Request, TableLimits, Tables
from host.interfaces import BUS_LEFT

_RING_BYTES = 1_500
_MESSAGE_BYTES = 120
"""About what an empty ring and an empty message cost (CPython, 64 bits)."""

_MESSAGE = int(Kind.MESSAGE)  # a number is had faster than a member of an enumeration
_ORDERED = packed(Kind.ORDERED, 1, b"")

Send = Callable[[int, bytes], bool]


class _Ring:
    """The retained messages of one topic: sender and payload of each."""

    __slots__ = ("messages", "size")

    def __init__(self) -> None:
        self.messages: deque[tuple[bytes, bytes]] = deque()
        self.size = _RING_BYTES

    def add_message(self, sender: bytes, payload: bytes, keep: int) -> int:
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
        tables: how much tables hold.
    """

    retained: int = 1000
    retained_bytes: int = 67_108_864
    keys: int = 1_000_000
    tables: TableLimits = TableLimits()


_LIMITS = HubLimits()


class HubState(NamedTuple):
    """What a hub knows.

    Attributes:
        hearers: who hears which topic.
        prefix_hearers: who hears which topics, by how those begin.
        owners: who owns which key.
        fence: the greatest fencing number that an owner has.
        rings: what is retained of which topic.
        tables: the tables.
    """

    hearers: list[tuple[bytes, list[int]]]
    prefix_hearers: list[tuple[bytes, list[int]]]
    owners: list[tuple[bytes, int]]
    fence: int
    rings: list[tuple[bytes, list[tuple[bytes, bytes]]]]
    tables: list[tuple[bytes, list[tuple[bytes, bytes]]]]


class Hub:
    """Knows the members (worker processes, by pid), their subscriptions and the keys that they own.

    Args:
        send: takes the number of a member and a packed frame for it; returns False if it was
            dropped.
        limits: how much it keeps.

    Attributes:
        node: the name of this host among others: "", for there are none.
    """

    node = ""

    def __init__(self, send: Send, limits: HubLimits = _LIMITS) -> None:
        self._send, self._limits = send, limits
        self._members: set[int] = set()
        self._hearers = Hearers()
        self._owners: dict[bytes, int] = {}
        self._fence = 0
        self._tables = Tables(limits.tables)
        self._rings: OrderedDict[bytes, _Ring] = OrderedDict()
        self._retained = 0
        self._questions: dict[int, Callable[[int, Frame], object]] = {
            Kind.SUBSCRIBE: self._subscribe,
            Kind.SUBSCRIBE_PREFIX: self._subscribe_prefix,
            Kind.UNSUBSCRIBE: self._unsubscribe,
            Kind.UNSUBSCRIBE_PREFIX: self._unsubscribe_prefix,
            Kind.PUBLISH: self._publish,
            Kind.PUBLISH_TOLD: self._publish_told,
            Kind.OWN: self._own,
            Kind.RELEASE: self._release,
            Kind.TABLE: self._ask_table,
            Kind.READ: self._read,
            Kind.READ_PREFIX: self._read_prefix,
        }

    def state(self) -> HubState:
        """Return all that is known, for the hub that takes over."""
        hearers, prefix_hearers = self._hearers.state()
        return HubState(
            hearers=hearers,
            prefix_hearers=prefix_hearers,
            owners=list(self._owners.items()),
            fence=self._fence,
            rings=[(topic, list(ring.messages)) for topic, ring in self._rings.items()],
            tables=self._tables.state(),
        )

    def restore(self, state: HubState) -> None:
        """Take over; the members join one by one, before or after."""
        self._hearers.restore(state.hearers, state.prefix_hearers)
        self._owners.update(state.owners)
        self._fence = state.fence
        self._tables.restore(state.tables)
        for topic, messages in state.rings:
            for sender, payload in messages:
                self._retain(topic, sender, payload, self._limits.retained)

    def lose_bridge(self, cause: str) -> None:
        """Do nothing: this hub has none."""

    def join(self, member: int) -> None:
        """Take in a member."""
        self._members.add(member)

    def leave(self, member: int) -> None:
        """Forget a member: what it owns is free, and the others are told (topic `BUS_LEFT`)."""
        if member not in self._members:
            return
        self._members.discard(member)
        self._hearers.leave(member)
        for key in [key for key, owner in self._owners.items() if owner == member]:
            del self._owners[key]
        self._broadcast(member, BUS_LEFT.encode(), _name(member))

    def receive(self, member: int, frame: Frame) -> None:
        """Do what a member asks for.

        Raises:
            BadFrameError: what it asks for is no question.
        """
        ask = self._questions.get(frame.kind)
        if ask is not None:
            ask(member, frame)

    def _publish(self, member: int, frame: Frame) -> None:
        if frame.number:
            self._retain(frame.name, _name(member), frame.payload, frame.number)
        self._broadcast(member, frame.name, frame.payload)

    def _publish_told(self, member: int, frame: Frame) -> None:
        self._publish(member, frame)
        self._send(member, _ORDERED)

    def _broadcast(self, sender: int, topic: bytes, payload: bytes) -> None:
        if hearers := self._hearers.of(topic):
            message = packed(_MESSAGE, 0, topic, _head(sender) + payload)
            for member in hearers:
                self._send(member, message)

    def _subscribe(self, member: int, frame: Frame) -> None:
        self._hearers.add(frame.name, member)
        self._read(member, frame)

    def _subscribe_prefix(self, member: int, frame: Frame) -> None:
        self._hearers.add_prefix(frame.name, member)
        self._read_prefix(member, frame)

    def _read(self, member: int, frame: Frame) -> None:
        self._confirm(member, frame, [frame.name])

    def _read_prefix(self, member: int, frame: Frame) -> None:
        prefix = frame.name
        self._confirm(member, frame, [topic for topic in self._rings if topic.startswith(prefix)])

    def _unsubscribe(self, member: int, frame: Frame) -> None:
        self._hearers.remove(frame.name, member)

    def _unsubscribe_prefix(self, member: int, frame: Frame) -> None:
        self._hearers.remove_prefix(frame.name, member)

    def _confirm(self, member: int, frame: Frame, topics: Iterable[bytes]) -> None:
        """Send what is retained of some topics, and that it was all."""
        for topic in topics:
            ring = self._rings.get(topic)
            for sender, payload in ring.messages if ring else ():
                whole = with_sender(sender, payload)
                self._send(member, Frame(Kind.RETAINED, frame.number, topic, whole).pack())
        self._send(member, Frame(Kind.SUBSCRIBED, frame.number, b"").pack())

    def _own(self, member: int, frame: Frame) -> None:
        key = frame.name
        free = key not in self._owners and len(self._owners) < self._limits.keys
        if free:
            self._owners[key] = member
            self._fence += 1
        self._send(member, Frame(Kind.OWNED, int(free), key, FENCE.pack(self._fence)).pack())

    def _release(self, member: int, frame: Frame) -> None:
        if self._owners.get(frame.name) == member:
            del self._owners[frame.name]

    def _ask_table(self, member: int, frame: Frame) -> None:
        request = Request.unpack(frame.payload)
        if request.op == Op.ITEMS:
            pieces, answer = self._tables.items(frame.name), DONE
        else:
            pieces, answer = iter(()), self._tables.do(frame.name, request)
        frames = [Frame(Kind.ITEMS, frame.number, b"", piece) for piece in pieces]
        frames.append(Frame(Kind.ANSWER, frame.number, b"", answer.pack()))
        if not all(self._send(member, each.pack()) for each in frames):
            self._send(member, Frame(Kind.NO_ANSWER, frame.number, b"").pack())

    def _retain(self, topic: bytes, sender: bytes, payload: bytes, keep: int) -> None:
        ring = self._rings.setdefault(topic, _Ring())
        self._rings.move_to_end(topic)
        self._retained += ring.add_message(sender, payload, min(keep, self._limits.retained))
        while self._retained > self._limits.retained_bytes and self._rings:
            self._retained -= self._rings.popitem(last=False)[1].size


def _name(member: int) -> bytes:
    return b"%d" % member


@lru_cache(1024)
def _head(member: int) -> bytes:
    """Return what comes before the payload of a message of a member."""
    return with_sender(_name(member), b"")
