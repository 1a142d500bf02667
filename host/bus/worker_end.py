"""The bus as a worker has it: `worker.bus`."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sized
from dataclasses import dataclass
from functools import partial

from host.bus.frames import (
    FENCE,
    MAX_PAYLOAD_BYTES,
    TIME,
    BadFrameError,
    Channel,
    Frame,
    Kind,
    clock,
    name_bytes,
    packed,
    split_sender,
)
from host.bus.tables import Answer
from host.bus.worker_tables import Asked, SharedTable
from host.interfaces import BUS_LEFT, BUS_LOST, BUS_TAKEN, Message
from host.runtime.loop import READ, WRITE, Loop

_LAST_ID = 2**32 - 1
_PUBLISH = int(Kind.PUBLISH)  # a number is had faster than a member of an enumeration
_PUBLISH_TOLD = int(Kind.PUBLISH_TOLD)
_MOST_REMEMBERED = 10_000
_SHARE_SECONDS = 0.004
"""How long frames are handled before others have their turn: each may be sent on to thousands."""
_MOST_UNTIMED = 16
"""How many are handled at most before the clock is looked at again."""
_OWN_TOPICS = (BUS_LOST, BUS_TAKEN)
"""What one member is told alone."""
_TOPICS_OF_BUS = frozenset((BUS_LEFT, *_OWN_TOPICS))

_Heard = tuple[str, tuple[Callable[[Message], object], ...]]
"""A topic, and what is called with its messages."""
_make_message: Callable[[tuple[str, bytes, str, bool]], Message] = partial(tuple.__new__, Message)
"""What `Message` itself does, but it is a function of Python: that takes twice as long."""
Call = Callable[..., object]
Isolated = Callable[[Callable[[], object]], None]


@dataclass(slots=True, eq=False)
class _Subscription:
    """One subscription; it hears live messages from the moment the hub has confirmed it.

    Attributes:
        topic: what is heard, or how it begins.
    """

    topic: str
    callback: Callable[[Message], object]
    ready: Callable[[], object] | None
    live: bool = False


@dataclass(slots=True, eq=False)
class _Claim:
    """A question whether this worker owns a key now; it may have given it up meanwhile."""

    done: Callable[[bool], object]
    is_released: bool = False


class LocalBus:
    """Speaks to the hub in the supervisor; implements `host.Bus`.

    Args:
        channel: this worker's end; the bus closes it.
        loop: the worker's loop.
        member: the worker's name among the members.
        isolated: calls what it is given so that an exception ends up in the log.
        trusted_until: until when what it owns is certainly its own, in seconds of `frames.clock`;
            the hub tells when that changes.
        refused: called when a message is not published, since too much waits.

    Attributes:
        waiting: true as long as something waits for `flush`.
        member: this worker's name among the members.
    """

    def __init__(
        self,
        channel: Channel,
        loop: Loop,
        member: str,
        isolated: Isolated,
        *,
        trusted_until: float = math.inf,
        refused: Callable[[], object] = bool,
    ) -> None:
        self._channel, self._loop, self._isolated = channel, loop, isolated
        self._refused = refused
        self.waiting: Sized = channel.queue
        self.member = member
        self._ids = 0
        self._pending: dict[int, _Subscription] = {}
        self._subscriptions: dict[str, list[_Subscription]] = {}
        self._prefixes: dict[str, list[_Subscription]] = {}
        self._lengths: list[int] = []  # of the prefixes
        self._heard: dict[bytes, _Heard] = {}  # topics, as long as no subscription changes
        self._ordering: deque[Callable[[bool], object]] = deque()
        self._asked: dict[int, Asked] = {}
        self._fences: dict[bytes, int] = {}
        self._trusted_until = trusted_until
        self._is_full = False
        self._owning: dict[bytes, deque[_Claim]] = {}
        self._watched = READ
        self._is_behind = False  # frames have come that wait for a later turn
        self._answers: dict[int, Callable[[Frame], object]] = {
            Kind.MESSAGE: self._hear,
            Kind.RETAINED: self._retained,
            Kind.SUBSCRIBED: self._subscribed,
            Kind.ORDERED: lambda frame: self._call(self._ordering.popleft(), frame.number == 1),
            Kind.OWNED: self._owned,
            Kind.LOST: self._lost,
            Kind.ITEMS: lambda frame: self._asked[frame.number].take_items(frame.payload),
            Kind.ANSWER: lambda frame: self._answered(frame, Answer.unpack(frame.payload)),
            Kind.NO_ANSWER: lambda frame: self._answered(frame, None),
            Kind.FULL: self._full,
            Kind.TRUST: self._trust,
            Kind.FENCE: self._new_fence,
            Kind.TAKEN: self._taken,
        }
        loop.add(channel.fileno(), READ, self._on_event)

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: int = 0,
        done: Callable[[bool], object] | None = None,
    ) -> bool:
        """Send `payload` to all who have subscribed to `topic`; False if it was dropped."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"payload of {len(payload)} bytes: {MAX_PAYLOAD_BYTES} at most")
        if topic in _TOPICS_OF_BUS:
            raise ValueError(f"{topic} is a topic of the bus: it alone publishes there")
        kind = _PUBLISH if done is None else _PUBLISH_TOLD
        frame = packed(kind, retain, name_bytes(topic), payload)
        taken = not self._is_full and self._channel.put(frame)
        if not taken:
            self._refused()
        if done is not None:
            if taken:
                self._ordering.append(done)
            else:
                self.call_soon(done, False)
        return taken

    def subscribe(
        self,
        topic: str,
        callback: Callable[[Message], object],
        ready: Callable[[], object] | None = None,
        *,
        prefix: bool = False,
    ) -> None:
        """Hear the messages of `topic`: first those that are retained, then `ready`, then live."""
        number = self._next_id()
        kind = Kind.SUBSCRIBE_PREFIX if prefix else Kind.SUBSCRIBE
        if not self._put(kind, number, name_bytes(topic)):
            raise BlockingIOError("the bus is overloaded: the subscription was not sent")
        subscription = _Subscription(topic, callback, ready)
        known = self._prefixes if prefix else self._subscriptions
        known.setdefault(topic, []).append(subscription)
        if prefix:
            self._lengths = sorted({len(each) for each in known})
        self._pending[number] = subscription

    def read_retained(
        self,
        topic: str,
        callback: Callable[[Message], object],
        ready: Callable[[], object],
        *,
        prefix: bool = False,
    ) -> None:
        """Hear what is retained of `topic`, then `ready`, and nothing live."""
        number = self._next_id()
        if not self._put(Kind.READ_PREFIX if prefix else Kind.READ, number, name_bytes(topic)):
            raise BlockingIOError("the bus is overloaded: the question was not sent")
        self._pending[number] = _Subscription(topic, callback, ready)

    def unsubscribe(self, topic: str, *, prefix: bool = False) -> None:
        """Hear nothing more of `topic`."""
        known = self._prefixes if prefix else self._subscriptions
        if gone := known.pop(topic, None):
            self._heard.clear()
            if prefix:
                self._lengths = sorted({len(each) for each in known})
            for number in [key for key, each in self._pending.items() if each in gone]:
                del self._pending[number]  # the hub's answers are on the way: nobody hears them
            self._put(Kind.UNSUBSCRIBE_PREFIX if prefix else Kind.UNSUBSCRIBE, 0, name_bytes(topic))

    def claim(self, key: str, done: Callable[[bool], object]) -> None:
        """Ask to be the one owner of `key`; `done` is called with whether this worker owns it."""
        name = name_bytes(key)
        if self._put(Kind.OWN, 0, name):
            self._owning.setdefault(name, deque()).append(_Claim(done))
        else:
            self.call_soon(done, False)

    def release(self, key: str) -> None:
        """Give up a key that this worker owns."""
        name = name_bytes(key)
        self._fences.pop(name, None)
        for claim in self._owning.get(name, ()):  # the hub hears of them before
            claim.is_released = True
        self._put(Kind.RELEASE, 0, name)

    def fence(self, key: str) -> int | None:
        """Return the fencing number of a key that this worker owns; None if it does not."""
        fence = self._fences.get(name_bytes(key))
        return fence if fence is not None and clock() < self._trusted_until else None

    def table(self, name: str) -> SharedTable:
        """Return a table that all members share."""
        return SharedTable(self, name)

    def ask_table(self, table: bytes, payload: bytes, asked: Asked) -> bool:
        """Ask a table something; False if it was not sent, since too much waits."""
        number = self._next_id()
        if not self._put(Kind.TABLE, number, table, payload):
            return False
        self._asked[number] = asked
        return True

    def call_soon(self, function: Call, *args: object) -> None:
        """Call something in the next turn of the loop."""
        self._loop.call_at(self._loop.now, lambda: self._call(function, *args))

    def flush(self) -> None:
        """Send what waits; the worker calls it at the end of each turn."""
        if not self.waiting:
            return
        try:
            wanted = READ if self._channel.flush() else READ | WRITE
        except OSError:  # the supervisor is gone: so will this process be
            return
        if wanted != self._watched:
            self._loop.modify(self._channel.fileno(), wanted)
            self._watched = wanted

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _put(self, kind: int, number: int, name: bytes, payload: bytes = b"") -> bool:
        return self._channel.put(packed(kind, number, name, payload))

    def _on_event(self, mask: int) -> None:
        if mask & WRITE:
            self.flush()
        if mask & ~WRITE and not self._is_behind:
            self._go_on(self._channel.receive)

    def _go_on(self, receive: Callable[[], int] = int) -> None:
        """Handle the frames that have come; if they take long, the rest waits for the next turn.

        Nothing more is read until then, so that it waits in the hub and is counted there.
        """
        self._is_behind, taken, look, enough = False, 0, 2, math.inf
        try:
            if receive() < 0:
                raise BadFrameError("end of file")
            for frame in self._channel.frames():
                if (answer := self._answers.get(frame.kind)) is not None:
                    answer(frame)
                taken += 1
                if taken == look:  # not for one that comes alone
                    now = self._loop.time()
                    if now >= enough:
                        self._is_behind = True
                        self._loop.call_from_thread(self._go_on)
                        return
                    enough = min(enough, now + _SHARE_SECONDS)
                    look += min(taken, _MOST_UNTIMED)
        except BadFrameError:  # the supervisor has died: the control channel tells, too
            self._loop.remove(self._channel.fileno())

    def _hear(self, frame: Frame) -> None:
        name = frame.name
        topic, callbacks = self._heard.get(name) or self._find(name)
        sender, payload = split_sender(frame.payload)
        message = _make_message((topic, payload, sender, False))
        for callback in callbacks:
            self._isolated(partial(callback, message))

    def _find(self, name: bytes) -> _Heard:
        """Return a topic with who hears what is live in it, each once, and remember that."""
        topic = name.decode()
        found = [each.callback for each in self._subscriptions.get(topic, ()) if each.live]
        for length in self._lengths:
            if length > len(topic):
                break
            hearing = self._prefixes.get(topic[:length], ())
            found += [each.callback for each in hearing if each.live]
        if len(self._heard) >= _MOST_REMEMBERED:
            self._heard.clear()
        heard = self._heard[name] = topic, tuple(dict.fromkeys(found))
        return heard

    def _lost(self, frame: Frame) -> None:
        self._tell_own(BUS_LOST, b"%d" % frame.number)

    def _answered(self, frame: Frame, answer: Answer | None) -> None:
        self._call(self._asked.pop(frame.number).answer, answer)

    def _tell_own(self, topic: str, payload: bytes) -> None:
        """Tell what one member is told alone: to all who have subscribed to it, live or not."""
        message = Message(topic, payload, self.member, retained=False)
        for subscription in tuple(self._subscriptions.get(topic, ())):
            self._call(subscription.callback, message)

    def _retained(self, frame: Frame) -> None:
        subscription = self._pending.get(frame.number)
        if subscription is not None:
            sender, payload = split_sender(frame.payload)
            message = Message(frame.name.decode(), payload, sender, retained=True)
            self._call(subscription.callback, message)

    def _subscribed(self, frame: Frame) -> None:
        subscription = self._pending.pop(frame.number, None)
        if subscription is not None:
            subscription.live = True
            self._heard.clear()
            if subscription.ready is not None:
                self._call(subscription.ready)

    def _owned(self, frame: Frame) -> None:
        waiting = self._owning.get(frame.name)
        if waiting:
            claim = waiting.popleft()
            if not waiting:
                del self._owning[frame.name]
            if frame.number and not claim.is_released:
                (self._fences[frame.name],) = FENCE.unpack(frame.payload)
            self._call(claim.done, frame.number == 1)

    def _full(self, frame: Frame) -> None:
        self._is_full = frame.number == 1

    def _trust(self, frame: Frame) -> None:
        (self._trusted_until,) = TIME.unpack(frame.payload)

    def _new_fence(self, frame: Frame) -> None:
        if frame.name in self._fences:
            (self._fences[frame.name],) = FENCE.unpack(frame.payload)

    def _taken(self, frame: Frame) -> None:
        if self._fences.pop(frame.name, None) is not None:  # else it was given up meanwhile
            self._tell_own(BUS_TAKEN, frame.name)

    def _next_id(self) -> int:
        """Return a number for a question: it is no other's for the next four billion."""
        self._ids = (self._ids + 1) & _LAST_ID
        return self._ids

    def _call(self, function: Call, *args: object) -> None:
        self._isolated(partial(function, *args))
