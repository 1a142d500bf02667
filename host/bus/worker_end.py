"""The embedded bus as a worker has it: `worker.bus`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sized
from dataclasses import dataclass

from host.bus.frames import MAX_NAME_BYTES, MAX_PAYLOAD_BYTES, BadFrameError, Channel, Frame, Kind
from host.interfaces import BUS_LOST, Message
from host.runtime.loop import READ, WRITE, Loop

Call = Callable[..., object]
Isolated = Callable[[Callable[[], object]], None]


@dataclass(slots=True, eq=False)
class _Subscription:
    """One subscription; it hears live messages from the moment the hub has confirmed it."""

    topic: str
    callback: Callable[[Message], object]
    ready: Callable[[], object] | None
    live: bool = False


class LocalBus:
    """Speaks to the hub in the supervisor; implements `host.Bus`.

    Args:
        channel: this worker's end; the bus closes it.
        loop: the worker's loop.
        member: the worker's pid.
        isolated: calls what it is given so that an exception ends up in the log.

    Attributes:
        waiting: true as long as something waits for `flush`.
    """

    def __init__(self, channel: Channel, loop: Loop, member: int, isolated: Isolated) -> None:
        self._channel, self._loop, self._isolated = channel, loop, isolated
        self.waiting: Sized = channel.queue
        self._number = member
        self._ids = 0
        self._pending: dict[int, _Subscription] = {}
        self._subscriptions: dict[str, list[_Subscription]] = {}
        self._owning: dict[bytes, deque[Callable[[bool], object]]] = {}
        self._watched = READ
        loop.add(channel.fileno(), READ, self._on_event)

    @property
    def member(self) -> str:
        """This worker's name among the members."""
        return str(self._number)

    @property
    def dropped(self) -> int:
        """Frames that were dropped here because the queue to the hub was full."""
        return self._channel.dropped

    def publish(self, topic: str, payload: bytes, *, retain: int = 0) -> bool:
        """Send `payload` to all who have subscribed to `topic`; False if it was dropped."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise ValueError(f"payload of {len(payload)} bytes: {MAX_PAYLOAD_BYTES} at most")
        return self._put(Kind.PUBLISH, retain, _name(topic), payload)

    def subscribe(
        self,
        topic: str,
        callback: Callable[[Message], object],
        ready: Callable[[], object] | None = None,
    ) -> None:
        """Hear the messages of `topic`: first those that are retained, then `ready`, then live."""
        self._ids += 1
        if not self._put(Kind.SUBSCRIBE, self._ids, _name(topic)):
            raise BlockingIOError("the bus is overloaded: the subscription was not sent")
        subscription = _Subscription(topic, callback, ready)
        self._subscriptions.setdefault(topic, []).append(subscription)
        self._pending[self._ids] = subscription

    def unsubscribe(self, topic: str) -> None:
        """Hear nothing more of `topic`."""
        if gone := self._subscriptions.pop(topic, None):
            for number in [key for key, each in self._pending.items() if each in gone]:
                del self._pending[number]  # the hub's answers are on the way: nobody hears them
            self._put(Kind.UNSUBSCRIBE, 0, _name(topic))

    def claim(self, key: str, done: Callable[[bool], object]) -> None:
        """Ask to be the one owner of `key`; `done` is called with whether this worker owns it."""
        name = _name(key)
        if self._put(Kind.OWN, 0, name):
            self._owning.setdefault(name, deque()).append(done)
        else:
            self._loop.call_at(self._loop.now, lambda: self._isolated(lambda: done(False)))

    def release(self, key: str) -> None:
        """Give up a key that this worker owns."""
        self._put(Kind.RELEASE, 0, _name(key))

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

    def _put(self, kind: Kind, number: int, name: bytes, payload: bytes = b"") -> bool:
        return self._channel.put(Frame(kind, number, name, payload).pack())

    def _on_event(self, mask: int) -> None:
        if mask & WRITE:
            self.flush()
        if not mask & ~WRITE:
            return
        frames = self._channel.receive()
        try:
            if frames is None:
                raise BadFrameError("end of file")
            for frame in frames:
                self._receive(frame)
        except BadFrameError:  # the supervisor has died: the control channel tells, too
            self._loop.remove(self._channel.fileno())

    def _receive(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.MESSAGE:
                message = Message(
                    frame.name.decode(), frame.payload, str(frame.number), retained=False
                )
                self._deliver(message)
            case Kind.RETAINED:
                self._retained(frame)
            case Kind.SUBSCRIBED:
                self._subscribed(frame.number)
            case Kind.OWNED:
                self._owned(frame.name, frame.number == 1)
            case Kind.LOST:
                count = b"%d" % frame.number
                self._deliver(Message(BUS_LOST, count, self.member, retained=False))

    def _deliver(self, message: Message) -> None:
        for subscription in tuple(self._subscriptions.get(message.topic, ())):
            if subscription.live or message.topic == BUS_LOST:
                self._call(subscription.callback, message)

    def _retained(self, frame: Frame) -> None:
        subscription = self._pending.get(frame.number)
        if subscription is not None:
            sender = str(int.from_bytes(frame.payload[:4], "little"))
            message = Message(subscription.topic, frame.payload[4:], sender, retained=True)
            self._call(subscription.callback, message)

    def _subscribed(self, number: int) -> None:
        if number in self._pending:
            subscription = self._pending.pop(number)
            subscription.live = True
            if subscription.ready is not None:
                self._call(subscription.ready)

    def _owned(self, key: bytes, owned: bool) -> None:
        waiting = self._owning.get(key)
        if waiting:
            done = waiting.popleft()
            if not waiting:
                del self._owning[key]
            self._call(done, owned)

    def _call(self, function: Call, *args: object) -> None:
        self._isolated(lambda: function(*args))


def _name(text: str) -> bytes:
    name = text.encode()
    if not 0 < len(name) <= MAX_NAME_BYTES:
        raise ValueError(f"a topic or key has 1 to {MAX_NAME_BYTES} bytes, not {len(name)}")
    return name
