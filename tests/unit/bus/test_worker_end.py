"""The exchange and workers' ends of it, over real socket pairs in one loop that is run by hand."""

import socket
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.bus.frames import Channel, Frame, Kind
from host.bus.supervisor_end import BusRouter
from host.bus.worker_end import LocalBus
from host.interfaces import BUS_LEFT, BUS_LOST
from host.runtime.loop import Loop
from support.fakes import Told


class Office:
    """An exchange and workers' ends, all in one process and one loop."""

    def __init__(self, members, max_queued=None):
        self.loop, self.told, self.failures = Loop(), Told(), []
        self.exchange = BusRouter(self.loop, self.told.telemetry)
        self.max_queued = max_queued
        self.buses, self.sockets = {}, {}
        for member in members:
            self.add(member)

    def add(self, member):
        ours, theirs = socket.socketpair()
        self.exchange.add(member, ours)
        self.sockets[member] = theirs
        channel = Channel(theirs) if self.max_queued is None else Channel(theirs, self.max_queued)
        self.buses[member] = LocalBus(channel, self.loop, member, self.isolated)
        return self.buses[member]

    def isolated(self, function):
        try:
            function()
        except Exception as error:
            self.failures.append(error)

    def run(self, turns=20):
        for _ in range(turns):
            for bus in self.buses.values():
                bus.flush()
            self.loop.run_once(0)
            self.exchange.flush()

    def kill(self, member):
        """End a worker: its end closes, the supervisor reaps it."""
        bus = self.buses.pop(member)
        self.loop.remove(self.sockets[member].fileno())
        bus.close()
        self.exchange.remove(member)

    def close(self):
        for bus in self.buses.values():
            bus.close()
        self.exchange.close()
        self.loop.close()


@contextmanager
def office(*members, **options):
    scene = Office(members or (1, 2, 3), **options)
    try:
        yield scene
    finally:
        scene.close()


class Ear:
    """Subscribes, and notes what it hears."""

    def __init__(self, bus, topic):
        self.heard, self.ready = [], 0
        bus.subscribe(topic, self.heard.append, self.on_ready)

    def on_ready(self):
        self.heard.append("ready")

    @property
    def payloads(self):
        return [each if each == "ready" else each.payload for each in self.heard]


def test_everyone_hears_with_sender_and_topic():
    with office() as scene:
        ears = [Ear(bus, "t") for bus in scene.buses.values()]
        scene.run()
        assert scene.buses[2].publish("t", b"hello")
        scene.run()
        for ear in ears:
            ready, message = ear.heard
            assert ready == "ready"
            assert (message.topic, message.payload) == ("t", b"hello")
            assert message.sender == scene.buses[2].member == "2"
            assert not message.retained


def test_retained_then_ready_then_live():
    with office() as scene:
        for number in range(5):
            scene.buses[1].publish("t", b"%d" % number, retain=3)
        scene.run()
        ear = Ear(scene.buses[2], "t")
        scene.buses[2].publish("t", b"live")
        scene.run()
        assert ear.payloads == [b"2", b"3", b"4", "ready", b"live"]
        assert [each.retained for each in ear.heard if each != "ready"] == [True] * 3 + [False]
        assert ear.heard[0].sender == "1"


def test_two_subscriptions_of_one_worker_each_hear_all_of_it():
    with office() as scene:
        scene.buses[1].publish("t", b"0", retain=5)
        one = Ear(scene.buses[1], "t")
        scene.run()
        other = Ear(scene.buses[1], "t")
        scene.buses[2].publish("t", b"1")
        scene.run()
        assert one.payloads == other.payloads == [b"0", "ready", b"1"]


@pytest.mark.parametrize("answered", [True, False])
def test_after_unsubscribing_nothing_is_heard(answered):
    """Not even what the hub had sent for the subscription before it knew."""
    with office() as scene:
        scene.buses[1].publish("t", b"kept", retain=1)
        scene.run()
        ear = Ear(scene.buses[2], "t")
        if answered:
            scene.run()
        heard = len(ear.heard)
        scene.buses[2].unsubscribe("t")
        scene.buses[1].publish("t", b"more")
        scene.run()
        assert len(ear.heard) == heard
        again = Ear(scene.buses[2], "t")
        scene.run()
        assert again.payloads == [b"kept", "ready"]
        assert len(ear.heard) == heard


def test_claims_are_answered_in_order_and_released_when_the_owner_ends():
    with office() as scene:
        answers = []
        for member in (1, 2, 1):
            scene.buses[member].claim("k", lambda owned, who=member: answers.append((who, owned)))
            scene.run()
        assert answers == [(1, True), (2, False), (1, False)]
        scene.kill(1)
        scene.buses[2].claim("k", lambda owned: answers.append((2, owned)))
        scene.run()
        assert answers[-1] == (2, True)


def test_of_many_who_claim_at_once_one_gets_it():
    members = range(1, 9)
    with office(*members) as scene:
        answers = []
        for bus in scene.buses.values():
            for key in ("a", "b"):
                bus.claim(key, lambda owned, key=key: answers.append((key, owned)))
        scene.run()
        for key in ("a", "b"):
            assert sorted(owned for each, owned in answers if each == key) == [False] * 7 + [True]


def test_the_others_hear_of_a_death_after_all_that_it_has_said():
    with office() as scene:
        said = []
        scene.buses[1].subscribe("t", lambda message: said.append(message.payload))
        scene.buses[1].subscribe(BUS_LEFT, lambda message: said.append(message.payload))
        scene.run()
        for number in range(100):
            scene.buses[2].publish("t", b"%d" % number)
        scene.buses[2].flush()
        scene.kill(2)
        scene.run()
        assert said == [*(b"%d" % number for number in range(100)), b"2"]


def test_a_callback_that_raises_harms_no_other():
    with office() as scene:
        scene.buses[1].subscribe("t", lambda _: 1 / 0)
        ear = Ear(scene.buses[1], "t")
        scene.run()
        scene.buses[1].publish("t", b"x")
        scene.run()
        assert ear.payloads == ["ready", b"x"]
        assert [type(failure) for failure in scene.failures] == [ZeroDivisionError]


def test_what_is_no_name_or_too_long_is_an_error():
    with office(1) as scene:
        for name in ("", "x" * 513, "ü" * 257):
            with pytest.raises(ValueError, match="1 to 512 bytes"):
                scene.buses[1].publish(name, b"")
        with pytest.raises(ValueError, match="1048576 at most"):
            scene.buses[1].publish("t", bytes(1_048_577))


def test_a_worker_that_has_too_much_waiting_is_told_so_at_once():
    with office(1, max_queued=2_000) as scene:
        bus, answers = scene.buses[1], []
        taken = 0
        while bus.publish("t", bytes(300)):
            taken += 1
        assert taken == 6
        assert bus.dropped == 1
        bus.claim("k", answers.append)  # has room of its own
        with pytest.raises(BlockingIOError):
            all(Ear(bus, "t") for _ in range(1000))
        bus.claim("l", answers.append)
        assert answers == []  # never before claim() has returned
        scene.run()
        assert sorted(answers) == [False, True]
        assert bus.publish("t", b"again")


def test_one_that_does_not_read_loses_messages_is_told_how_many_and_holds_up_nobody():
    size, count = 500_000, 40
    with office() as scene:
        lost = []
        slow, other = Ear(scene.buses[1], "t"), Ear(scene.buses[2], "t")
        scene.buses[1].subscribe(BUS_LOST, lambda message: lost.append(int(message.payload)))
        scene.run()
        fd = scene.sockets[1].fileno()
        scene.loop.modify(fd, 0)
        claimed = []
        for number in range(count):
            scene.buses[3].publish("t", number.to_bytes(4, "big") + bytes(size))
            scene.run(5)
        scene.buses[1].claim("k", claimed.append)
        scene.run(50)
        assert len(other.payloads) == count + 1
        assert [record.event.name for record in scene.told] == ["bus_dropped"]
        scene.loop.modify(fd, 1)
        scene.run(500)
        numbers = [int.from_bytes(payload[:4], "big") for payload in slow.payloads[1:]]
        assert numbers == list(range(len(numbers)))  # the first ones, in order
        assert sum(lost) == count - len(numbers) > 0
        assert claimed == [True]
        scene.buses[3].publish("t", b"after")
        scene.run()
        assert slow.payloads[-1] == b"after"


@pytest.mark.parametrize("reads", [True, False])
def test_one_that_sends_rubbish_is_cut_off_and_the_others_go_on(reads):
    with office() as scene:
        ear, left = Ear(scene.buses[2], "t"), Ear(scene.buses[2], BUS_LEFT)
        Ear(scene.buses[1], "t")
        scene.run()
        scene.buses[1].claim("k", lambda _: None)
        scene.run()
        if not reads:
            scene.loop.modify(scene.sockets[1].fileno(), 0)
            for _ in range(8):
                scene.buses[3].publish("t", bytes(500_000))
                scene.run()
        scene.sockets[1].send(b"\xff" * 100)
        scene.run()
        for _ in range(8):
            scene.buses[3].publish("t", bytes(500_000))
            scene.run()
        scene.buses[3].publish("t", b"end")
        scene.run()
        assert ear.payloads[-1] == b"end"
        assert left.payloads == ["ready", b"1"]
        got = []
        scene.buses[2].claim("k", got.append)
        scene.run()
        assert got == [True]
        scene.kill(1)
        scene.run()
        assert left.payloads == ["ready", b"1"]


def test_frames_that_only_the_hub_sends_do_nothing():
    with office() as scene:
        ear = Ear(scene.buses[2], "t")
        scene.run()
        for kind in (Kind.MESSAGE, Kind.RETAINED, Kind.SUBSCRIBED, Kind.CLAIMED, Kind.LOST, 0, 99):
            scene.sockets[1].send(Frame(kind, 1, b"t", b"x").pack())
        scene.run()
        assert ear.payloads == ["ready"]


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from("ab"), st.integers(0, 3))))
def test_each_topic_has_one_order_for_all(steps):
    with office() as scene:
        ears = {
            (member, topic): Ear(bus, topic)
            for member, bus in scene.buses.items()
            for topic in "ab"
        }
        scene.run()
        for number, (member, topic, turns) in enumerate(steps):
            scene.buses[member].publish(topic, b"%d %d" % (member, number))
            scene.run(turns)
        scene.run()
        for topic in "ab":
            one, *others = [ears[member, topic].payloads for member in scene.buses]
            assert others == [one, one]
            assert len(one) == 1 + sum(each == topic for _, each, _ in steps)
            for member in scene.buses:
                mine = [payload for payload in one[1:] if payload.startswith(b"%d " % member)]
                assert mine == sorted(mine, key=lambda payload: int(payload.split()[1]))


def test_a_topic_that_is_none_is_refused_and_leaves_nothing_behind():
    with office(1) as all_of_it:
        bus = all_of_it.buses[1]
        with pytest.raises(ValueError, match="1 to 512 bytes"):
            bus.subscribe("", print)
        assert not bus._subscriptions
        assert not bus._pending
