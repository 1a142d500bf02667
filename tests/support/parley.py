"""A chat of several workers in one process: the test decides what the bus delivers when.

The bus promises no more than `host.Bus` does, unless it is told to be `ordered` as the embedded one
is: order within a topic. What is said on different topics, and claims, overtake each other then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

from host import BUS_LEFT, BUS_LOST, BUS_TAKEN, CloseReason, Listener, Message
from host.ipc.series import OwnSeries
from host.metrics.declaring import DeclaredMetrics
from host.plugins.chat import Chat
from host.plugins.chat.options import Options

LISTENER = Listener(0, "tcp://127.0.0.1:7000", "chat")
CLAIMS, ORDERED = "(claims)", "(ordered)"


class Timer:
    def __init__(self, when: float, function: Callable[[], object]) -> None:
        self.when, self.function = when, function
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Net:
    """What is between the workers: steps on the way to the hub, and steps on the way back.

    Attributes:
        full: while it is true, all that is sent is dropped.
        cut_off: those for whom nothing is delivered, and of whom nothing comes.
    """

    def __init__(self, ordered: bool) -> None:
        self.ordered = ordered
        self.ends: dict[str, End] = {}
        self.queues: dict[tuple[str, ...], deque[tuple[bool, Callable[[], object]]]] = {}
        self.rings: dict[str, deque[Message]] = {}
        self.owners: dict[str, str] = {}
        self.full = False
        self.cut_off: set[str] = set()
        self.log: dict[str, list[bytes]] = {}

    def put(
        self, way: str, member: str, topic: str, step: Callable[[], object], lossy: bool = False
    ) -> None:
        if member not in self.ends:  # it has died
            return
        path = (way, member) if self.ordered else (way, member, topic)
        self.queues.setdefault(path, deque()).append((lossy, step))

    def step(self, choice: int) -> bool:
        """Take one step, of the queue that `choice` says; false if there is none."""
        paths = [
            path for path, queue in self.queues.items() if queue and path[1] not in self.cut_off
        ]
        if not paths:
            return False
        self.queues[paths[choice % len(paths)]].popleft()[1]()
        return True

    def run(self) -> None:
        steps = 0
        while self.step(0):
            steps += 1
            assert steps < 200_000, "it goes round in circles"

    def kill(self, member: str) -> None:
        """End a worker; what it has sent before is still delivered, and word of its end is last."""
        if member not in self.cut_off:
            self._flush("up", member)
        self.ends.pop(member)
        self.cut_off.discard(member)
        self.queues = {path: queue for path, queue in self.queues.items() if path[1] != member}
        self.tell_left(member)

    def tell_left(self, member: str) -> None:
        """Take a worker for dead: its keys are free, and all hear that, itself as well."""
        self.owners = {key: owner for key, owner in self.owners.items() if owner != member}
        for other, end in self.ends.items():
            message = Message(BUS_LEFT, member.encode(), member, retained=False)

            def hear(other: str = other, end: End = end, message: Message = message) -> None:
                self._flush("down", other)  # it comes after the last message of that worker
                end.hear(message)

            if other in self.cut_off:
                self.put("down", other, BUS_LEFT, hear)
            else:
                hear()

    def connect(self, member: str) -> None:
        """End a partition: a worker asks for its keys anew, and hears what it has missed."""
        self.cut_off.discard(member)
        end = self.ends[member]
        for key in sorted(end.held):
            if self.owners.setdefault(key, member) != member:
                end.held.discard(key)
                end.hear(Message(BUS_TAKEN, key.encode(), member, retained=False))

    def _flush(self, way: str, member: str) -> None:
        for path, queue in list(self.queues.items()):
            if path[:2] == (way, member):
                while queue:
                    queue.popleft()[1]()

    def publish(self, member: str, topic: str, payload: bytes, retain: int) -> None:
        self.log.setdefault(topic, []).append(payload)
        if retain:
            kept = [*self.rings.get(topic, ()), Message(topic, payload, member, retained=True)]
            self.rings[topic] = deque(kept[-retain:])
        message = Message(topic, payload, member, retained=False)
        for name, end in self.ends.items():
            if topic in end.confirmed:
                self.put("down", name, topic, lambda end=end: end.hear(message), lossy=True)


class End:
    """A worker's end: `host.Bus`."""

    def __init__(self, net: Net, member: str) -> None:
        self._net, self.member = net, member
        self.callbacks: dict[str, list[tuple[int, Callable[[Message], object]]]] = {}
        self.confirmed: set[str] = set()
        self.held: set[str] = set()
        self._live: set[int] = set()
        self._ids = count()
        net.ends[member] = self

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: int = 0,
        done: Callable[[bool], object] | None = None,
    ) -> bool:
        net = self._net

        def arrived() -> None:
            net.publish(self.member, topic, payload, retain)
            if done is not None:
                net.put("down", self.member, ORDERED, lambda: done(True))

        if net.full:
            if done is not None:
                net.put("down", self.member, ORDERED, lambda: done(False))
            return False
        net.put("up", self.member, topic, arrived)
        return True

    def subscribe(
        self,
        topic: str,
        callback: Callable[[Message], object],
        ready: Callable[[], object] | None = None,
    ) -> None:
        if self._net.full:
            raise BlockingIOError
        number = next(self._ids)
        self.callbacks.setdefault(topic, []).append((number, callback))

        def known() -> bool:
            return any(each == number for each, _ in self.callbacks.get(topic, ()))

        def arrived() -> None:
            kept = tuple(self._net.rings.get(topic, ()))
            self.confirmed.add(topic)
            self._net.put("down", self.member, topic, lambda: confirmed(kept))

        def confirmed(kept: tuple[Message, ...]) -> None:
            if known():
                for message in kept:
                    callback(message)
                self._live.add(number)
                if ready is not None:
                    ready()

        self._net.put("up", self.member, topic, arrived)

    def unsubscribe(self, topic: str) -> None:
        if self.callbacks.pop(topic, None):
            step = lambda: self.confirmed.discard(topic)  # noqa: E731
            self._net.put("up", self.member, topic, step)

    def hear(self, message: Message) -> None:
        for number, callback in tuple(self.callbacks.get(message.topic, ())):
            if number in self._live or message.topic in (BUS_LOST, BUS_LEFT, BUS_TAKEN):
                callback(message)

    def claim(self, key: str, done: Callable[[bool], object]) -> None:
        net = self._net

        def arrived() -> None:
            owned = net.owners.setdefault(key, self.member) == self.member
            owned = owned and key not in self.held
            if owned:
                self.held.add(key)
            net.put("down", self.member, CLAIMS, lambda: done(owned))

        if net.full:
            net.put("down", self.member, CLAIMS, lambda: done(False))
        else:
            net.put("up", self.member, CLAIMS, arrived)

    def release(self, key: str) -> None:
        def arrived() -> None:
            if self._net.owners.get(key) == self.member:
                del self._net.owners[key]
            self.held.discard(key)

        self._net.put("up", self.member, CLAIMS, arrived)


class Place:
    """A worker with the chat in it: `host.Worker`."""

    def __init__(self, net: Net, member: str, options: Options) -> None:
        self.slot = self.generation = 0
        self.pid = int(member)
        self.now = 1000.0
        self.timers: list[Timer] = []
        self.bus = End(net, member)
        self.chat = Chat(options, clock=lambda: self.now)
        metrics = DeclaredMetrics(OwnSeries()).of("chat")
        self.chat.on_host_start(SimpleNamespace(metrics=metrics))
        self.connections: list[Client] = []
        self.chat.on_worker_start(self)

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        self.timers.append(Timer(self.now + seconds, function))
        return self.timers[-1]

    def call_from_thread(self, function: Callable[[], object]) -> None:
        raise NotImplementedError

    def advance(self, seconds: float) -> None:
        """Let time pass, without anything that the bus brings."""
        end = self.now + seconds
        while True:
            self.timers = [timer for timer in self.timers if not timer.cancelled]
            due = min(self.timers, key=lambda timer: timer.when, default=None)
            if due is None or due.when > end:
                break
            self.timers.remove(due)
            self.now = max(self.now, due.when)
            due.function()
        self.now = end


class Client:
    """A user's connection: `host.Connection`; `lines` are what it was sent."""

    allow_half_open = False
    eof = False

    def __init__(self, place: Place) -> None:
        self.worker, self.listener = place, LISTENER
        self.id, self.peer, self.data = "1-1", "127.0.0.1:1", None
        self.received, self._arrived = b"", b""
        self.closed = self.congested = self.paused = self.ended = False
        self.unsent = 0
        self.when_writable: Callable[[Any], object] | None = None
        place.connections.append(self)
        place.chat.on_accept(self)

    @property
    def user(self) -> Any:
        return self.data

    @property
    def lines(self) -> list[str]:
        return self.received.decode().split("\r\n")[:-1]

    def take(self) -> list[str]:
        lines, self.received = self.lines, b""
        return lines

    def send(self, *lines: str) -> None:
        self.feed("".join(f"{line}\n" for line in lines).encode())

    def feed(self, data: bytes) -> None:
        self._arrived += data
        self._read()

    def _read(self) -> None:
        if self._arrived and not (self.paused or self.closed or self.congested):
            self.worker.chat.on_readable(self)

    def leave(self, reason: CloseReason = CloseReason.PEER_FINISHED) -> None:
        if not self.ended:
            self.closed = self.ended = True
            self.worker.connections.remove(self)
            self.worker.chat.on_close(self, reason)

    # What the chat calls

    def read(self) -> bytes:
        data, self._arrived = self._arrived, b""
        return data

    def write(self, data: bytes) -> None:
        if not self.closed:
            self.received += data

    def flush(self) -> None:
        pass

    def call_when_writable(self, function: Callable[[Any], object]) -> None:
        self.when_writable = function

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        self._read()

    def close(self) -> None:
        self.closed = True


class Parley:
    """Several workers and what connects them."""

    def __init__(self, workers: int = 2, ordered: bool = True, **options: Any) -> None:
        self.net, self.options = Net(ordered), Options(**options)
        self.places: dict[str, Place] = {}
        self._pids = count(11)
        for _ in range(workers):
            self.begin()
        self.settle()

    def begin(self) -> Place:
        """Start another worker."""
        member = str(next(self._pids))
        self.places[member] = Place(self.net, member, self.options)
        return self.places[member]

    def __getitem__(self, number: int) -> Place:
        return list(self.places.values())[number]

    def client(self, number: int, *lines: str) -> Client:
        client = Client(self[number])
        self.settle(0.0)
        client.send(*lines)
        self.settle(0.0)
        return client

    def kill(self, number: int) -> None:
        place = self[number]
        del self.places[place.bus.member]
        self.net.kill(place.bus.member)

    def cut_off(self, number: int) -> None:
        """Begin a partition: nothing comes to a worker, and nothing of it."""
        self.net.cut_off.add(self[number].bus.member)

    def tell_left(self, number: int) -> None:
        """Take a worker that is cut off for dead."""
        self.net.tell_left(self[number].bus.member)

    def connect(self, number: int) -> None:
        """End the partition."""
        self.net.connect(self[number].bus.member)

    def lose(self, number: int) -> None:
        """Drop what is on the way to a worker, and tell it so."""
        member = self[number].bus.member
        lost = 0
        for path, queue in self.net.queues.items():
            if path[:2] == ("down", member):
                kept = [each for each in queue if not each[0]]
                lost += len(queue) - len(kept)
                queue.clear()
                queue.extend(kept)
        place = self[number]
        place.bus.hear(Message(BUS_LOST, b"%d" % lost, member, retained=False))

    def settle(self, seconds: float = 5.0) -> None:
        """Deliver everything, and let that much time pass."""
        self.net.run()
        for _ in range(round(seconds / 0.05)):
            for place in list(self.places.values()):
                place.advance(0.05)
            self.net.run()

    @property
    def users(self) -> list[Any]:
        return [
            user for place in self.places.values() for user in place.chat._membership.users.values()
        ]

    def rosters(self) -> list[set[tuple[str, int, str, tuple[str, ...]]]]:
        """Return each worker's roster in a form that can be compared."""
        return [
            {
                (member, uid, person.nick, tuple(sorted(person.rooms)))
                for member, people in place.chat._membership.presence.roster._members.items()
                for uid, person in people.items()
            }
            for place in self.places.values()
        ]


def trio(**options: Any) -> tuple[Parley, Client, Client, Client]:
    """Three users in #lobby, on two workers."""
    parley = Parley(2, **options)
    clients = [
        parley.client(number % 2, f"/nick {nick}", "/join #lobby")
        for number, nick in enumerate(("ada", "bob", "carl"))
    ]
    for client in clients:
        client.take()
    ada, bob, carl = clients
    return parley, ada, bob, carl
