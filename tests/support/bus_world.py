"""Members of a bus in one loop: on one host or on two, with real bridges if there is a broker."""

from __future__ import annotations

import math
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from host.bridge import process
from host.bus.broker import BrokerSettings
from host.bus.frames import Channel
from host.bus.supervisor_end import BusRouter
from host.bus.worker_end import LocalBus
from host.interfaces import BUS_LEFT, BUS_LOST, BUS_TAKEN, Message
from host.ipc.host_counts import HostCounts
from host.runtime.loop import READ, Loop
from host.runtime.processes import Exit
from host.settings import BusSettings, Lifecycle
from host.supervisor.bridge import Bridge
from host.testing.machine import Stopwatch
from support.buses import Subscriber
from support.fakes import Told
from support.redis_server import RedisServer

DEADLINE_SECONDS = 40.0
SETTLED = "settled"
"""The topic on which members say that they have published all there is."""
LEASE = 2.0
"""Long enough that a busy machine does not take a host for dead that is none."""
_TURN_SECONDS = 0.02


def settings(server: RedisServer, **others: object) -> BusSettings:
    """Return the settings of a host that a server connects to others."""
    chosen = {"url": server.url, "node": "n", "lease_seconds": LEASE} | others
    return BusSettings(**chosen)


class Member:
    """A worker's end of the bus, and the other one at its host's router.

    Attributes:
        number: its number among all members of the world.
        bus: what a plugin has.
        told: what it was told for itself: topics `BUS_LOST` and `BUS_TAKEN`, with the payload.
        left: the members of which it has heard that they have left.
        words: what it has heard on the topic `SETTLED`, with who has said it.
        is_ready: whether its subscriptions were confirmed.
    """

    def __init__(self, world: World, router: BusRouter, number: int) -> None:
        self._loop, self.number = world.loop, number
        ours, self.sock = socket.socketpair()
        router.add(number, ours)
        node = router.hub.node
        name, until = (f"{node}:{number}", 0.0) if node else (str(number), math.inf)
        channel = Channel(self.sock)
        self.bus = LocalBus(channel, world.loop, name, world.isolated, trusted_until=until)
        self.told: list[tuple[str, bytes]] = []
        self.left: list[str] = []
        for topic in (BUS_LOST, BUS_TAKEN):
            self.bus.subscribe(topic, lambda each: self.told.append((each.topic, each.payload)))
        self.bus.subscribe(BUS_LEFT, lambda each: self.left.append(each.payload.decode()))
        self.words: set[tuple[str, bytes]] = set()
        self.is_ready = False
        self.bus.subscribe(SETTLED, self._hear_word, self._note_ready)

    def _hear_word(self, message: Message) -> None:
        self.words.add((message.sender, message.payload))

    def _note_ready(self) -> None:
        self.is_ready = True

    def stall(self) -> None:
        """Read nothing any more, as a worker that hangs."""
        self._loop.modify(self.sock.fileno(), 0)

    def go_on(self) -> None:
        """Read again."""
        self._loop.modify(self.sock.fileno(), READ)

    def close(self) -> None:
        """Close its end."""
        self._loop.remove(self.sock.fileno())
        self.bus.close()


class BusHost:
    """What a supervisor has of the bus, with its members and, with a broker, its bridge process."""

    def __init__(self, world: World, settings: BusSettings, broker: BrokerSettings | None) -> None:
        self._world, self.told = world, Told()
        self.members: dict[int, Member] = {}
        self.bridge: Bridge | None = None
        if broker is None:
            self.router = BusRouter(world.loop, self.told.telemetry)
            return
        self.bridge = Bridge(world.loop, self.told.telemetry, settings, world.limits)
        self.router = self.bridge.router
        run = partial(process.run, settings=broker, telemetry=self.told.telemetry)
        self._counts = HostCounts()
        self.bridge.prepare(os.getpid(), run, self._counts, self._close_in_child, None)

    @property
    def pid(self) -> int:
        """The bridge process; there must be one."""
        assert self.bridge is not None
        assert self.bridge.pid is not None
        return self.bridge.pid

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there; the embedded bus needs none."""
        return self.bridge is None or bool(self.bridge.state()["connected"])

    @property
    def connections(self) -> int:
        """How often there was a new connection to the broker."""
        return 0 if self.bridge is None else int(self.bridge.state()["connections"])

    def start(self) -> None:
        """Start the bridge process, if there is to be one."""
        if self.bridge is not None:
            self.bridge.start()

    def look_after(self) -> None:
        """Do what a supervisor does in each turn."""
        if self.bridge is not None:
            if (pid := self.bridge.pid) is not None:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    code = os.waitstatus_to_exitcode(status)
                    self.bridge.handle_exit(Exit(pid, max(code, 0), -code if code < 0 else None))
            self.bridge.check_health()
        self.router.pass_on()

    def kill(self, member: Member) -> None:
        """End a member: its end closes, and the supervisor reaps it."""
        member.bus.flush()
        del self.members[member.number]
        member.close()
        self.router.remove(member.number)

    def end(self) -> None:
        """End the bridge as a host does that is stopped."""
        if self.bridge is not None:
            with suppress(ProcessLookupError):
                if self.bridge.pid is not None:
                    os.kill(self.bridge.pid, signal.SIGCONT)
            self.bridge.end()

    def close(self) -> None:
        """End the bridge, and close all ends."""
        self.end()
        for member in self.members.values():
            member.close()
        self.members.clear()
        self.router.close()
        if self.bridge is not None:
            self._counts.close()

    def close_ends(self) -> None:
        """Close the ends of its members in a fork: else none of them would ever have ended."""
        for member in self.members.values():
            member.sock.close()
        self.router.close()

    def _close_in_child(self) -> None:
        self._world.loop.close()
        for host in self._world.hosts:
            host.close_ends()
            if host.bridge is not None and host is not self:
                host.bridge.close_in_child()


class World:
    """Hosts that hear each other, and whose members share one loop, which is turned by hand.

    Args:
        settings: those of the bus of each host; one host for each. A host with a broker has a
            bridge process that begins to connect at once.
        limits: when a bridge process is taken for hung.

    Attributes:
        failures: what callbacks of members have raised.
    """

    def __init__(
        self,
        settings: Sequence[BusSettings],
        limits: Lifecycle | None = None,
    ) -> None:
        self.loop, self.limits = Loop(), limits or Lifecycle()
        self.failures: list[Exception] = []
        self._numbers = self._words = 0
        self.hosts: list[BusHost] = []
        for each in settings:
            self.add_host(each)

    def add_host(self, settings: BusSettings, broker: BrokerSettings | None = None) -> BusHost:
        """Have one more host; `broker` is made of the settings if it is not given."""
        if broker is None and not settings.is_embedded:
            broker = broker_of(settings)
        host = BusHost(self, settings, broker)
        self.hosts.append(host)
        host.start()
        return host

    def add(self, host: BusHost) -> Member:
        """Have one more member on a host."""
        self._numbers += 1
        member = Member(self, host.router, self._numbers)
        host.members[member.number] = member
        return member

    @property
    def members(self) -> list[Member]:
        """All members, those of the first host first."""
        return [member for host in self.hosts for member in host.members.values()]

    def isolated(self, function: Callable[[], object]) -> None:
        """Call what a plugin is to be called with."""
        try:
            function()
        except Exception as error:
            self.failures.append(error)

    def turn(self) -> None:
        """Make one turn of the loop, with what workers and supervisors do in each."""
        for member in self.members:
            member.bus.flush()
        self.loop.run_once(_TURN_SECONDS)
        for host in self.hosts:
            host.look_after()

    def until(self, holds: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> None:
        """Turn the loop until something holds.

        Raises:
            AssertionError: it does not in so many seconds.
        """
        watch = Stopwatch()
        while not holds():
            assert not watch.has_passed(seconds), self._report()
            self.turn()
        assert not self.failures, self.failures

    def during(self, seconds: float) -> None:
        """Turn the loop for so long: for what is to happen by time alone, such as a lease."""
        watch = Stopwatch()
        self.until(lambda: watch.seconds >= seconds, seconds + DEADLINE_SECONDS)

    def until_ready(self) -> None:
        """Turn the loop until all members have their subscriptions."""
        self.until(lambda: all(member.is_ready for member in self.members))

    def settle(self) -> None:
        """Turn the loop until all have heard what was published so far.

        Each member says a last word: who has heard it has heard all that was said before.
        """
        self._words += 1
        word = b"%d" % self._words
        for member in self.members:
            self.until(partial(member.bus.publish, SETTLED, word))
        wanted = {(member.bus.member, word) for member in self.members}
        self.until(lambda: all(wanted <= member.words for member in self.members))

    def close(self) -> None:
        """End all bridge processes, and close everything."""
        for host in self.hosts:
            host.close()
        self.loop.close()

    def _report(self) -> str:
        states = [host.bridge.state() for host in self.hosts if host.bridge is not None]
        events = [[(each.event.name, each.fields) for each in host.told] for host in self.hosts]
        told = [(member.bus.member, member.told, member.left) for member in self.members]
        return f"it does not come about: {states}\n{events}\n{told}\n{self.failures}"


def broker_of(settings: BusSettings) -> BrokerSettings:
    """Return which broker it is that settings mean, without TLS."""
    return BrokerSettings(
        address=settings.address,
        password=settings.password.get_secret_value(),
        context=None,
        namespace=settings.namespace,
        lease_seconds=settings.lease_seconds,
    )


def more_members(world: World, count: int) -> None:
    """Have more members, in turns on each host, and wait until they have their subscriptions."""
    for number in range(count):
        world.add(world.hosts[number % len(world.hosts)])
    world.until_ready()


def subscribed(world: World, topic: str, *, prefix: bool = False) -> list[Subscriber]:
    """Have all members subscribe to a topic, and wait until they have."""
    hearers = [Subscriber(member.bus, topic, prefix=prefix) for member in world.members]
    world.until(lambda: all("ready" in hearer.heard for hearer in hearers))
    return hearers


def live(hearer: Subscriber) -> list[tuple[str, str, bytes]]:
    """Return topic, sender and payload of what a hearer has heard."""
    return [
        (each.topic, each.sender, each.payload)
        for each in hearer.heard
        if not isinstance(each, str)
    ]


def claimed(world: World, member: Member, key: str) -> bool:
    """Have a member claim a key; return the answer."""
    answers: list[bool] = []
    member.bus.claim(key, answers.append)
    world.until(lambda: answers)
    return answers[0]


def numbers_of(hearer: Subscriber, member: Member) -> list[int]:
    """Return the numbers of a member's `Publisher` that were heard."""
    return [int(payload) for _, sender, payload in live(hearer) if sender == member.bus.member]


PUBLISHED_AND_SUBSCRIBED = [
    [b"0", "ready", b"1", b"not retained", b"2", b"not retained"],
    [b"0", b"1", "ready", b"2", b"not retained"],
    [b"0", b"1", b"2", "ready"],
]
"""What is heard of `publish_and_subscribe`."""


def publish_and_subscribe(member: Member) -> list[Subscriber]:
    """Have a member publish what is retained and what is not, and subscribe in between."""
    hearers = []
    for number in range(3):
        member.bus.publish("t", b"%d" % number, retain=3)
        member.bus.publish("t", b"not retained")
        hearers.append(Subscriber(member.bus, "t", prefix=number == 1))
    return hearers


class Publisher:
    """Publishes numbers with `done`, and keeps the answers.

    Args:
        member: who publishes.
        topic: on which topic.

    Attributes:
        answers: the answer to each number that has one.
        said: how many numbers were published.
    """

    def __init__(self, member: Member, topic: str = "t") -> None:
        self._member, self._topic = member, topic
        self.answers: dict[int, bool] = {}
        self.said = 0

    @property
    def all_answered(self) -> bool:
        """Whether each number has its answer."""
        return len(self.answers) == self.said

    def say(self, count: int, retain: int = 0) -> None:
        """Publish some more; a number that is refused is the next one again."""
        for _ in range(count):
            number = self.said
            tell = lambda done, number=number: self.answers.setdefault(number, done)  # noqa: E731
            payload = b"%d" % number
            if self._member.bus.publish(self._topic, payload, retain=retain, done=tell):
                self.said += 1


def assert_exactly_once(
    world: World, hearers: list[Subscriber], publishers: dict[Member, Publisher]
) -> None:
    """Everything was heard by all, once, in one order, and nobody was told of a loss."""
    world.until(lambda: all(each.all_answered for each in publishers.values()))
    world.settle()
    assert all(all(each.answers.values()) for each in publishers.values())
    first, *others = map(live, hearers)
    assert all(other == first for other in others)
    for member, publisher in publishers.items():
        assert numbers_of(hearers[0], member) == list(range(publisher.said))
    assert not any(member.told or member.left for member in world.members)
