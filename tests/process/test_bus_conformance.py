"""What the page on the bus promises, on one host and over two: no plugin can tell which it has."""

from __future__ import annotations

import itertools
import random

import pytest

from support.bus_world import (
    PUBLISHED_AND_SUBSCRIBED,
    live,
    more_members,
    publish_and_subscribe,
    subscribed,
)
from support.buses import Subscriber

pytestmark = [
    pytest.mark.process,
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


@pytest.mark.parametrize("seed", [1, 2])
def test_all_hear_one_order_of_a_topic_their_own_messages_included(bus_world, seed):
    world = bus_world
    more_members(world, 2)
    topics = [subscribed(world, topic) for topic in ("a", "b")]
    chance, said = random.Random(seed), {}
    for number in range(400):
        member = chance.choice(world.members)
        topic = chance.choice("ab")
        assert member.bus.publish(topic, b"%d" % number)
        said.setdefault((topic, member.bus.member), []).append(b"%d" % number)
        if chance.random() < 0.1:
            world.turn()
    world.settle()
    for topic, hearers in zip("ab", topics, strict=True):
        first, *others = map(live, hearers)
        assert all(other == first for other in others)
        for member in world.members:
            own = [payload for _, sender, payload in first if sender == member.bus.member]
            assert own == said[topic, member.bus.member]
        assert len(first) == sum(len(each) for (name, _), each in said.items() if name == topic)


def test_done_tells_once_that_a_message_has_its_place(bus_world):
    """Who subscribes afterwards finds it: it is known to all by then."""
    world = bus_world
    publisher, other = world.members
    answers = []
    for number in range(50):
        payload = b"%d" % number
        assert publisher.bus.publish("t", payload, retain=1, done=answers.append)
        world.until(lambda: len(answers) > number)  # noqa: B023
        hearer = Subscriber(other.bus, "t")
        world.until(lambda: "ready" in hearer.heard)  # noqa: B023
        assert hearer.payloads == [payload, "ready"]
        other.bus.unsubscribe("t")
    assert answers == [True] * 50


def test_each_publication_has_its_own_answer(bus_world):
    world = bus_world
    answers = []
    hearers = subscribed(world, "t")
    for number, member in itertools.product(range(100), world.members):
        tell = lambda done, who=(member.number, number): answers.append((who, done))  # noqa: E731
        assert member.bus.publish("t", b"x", done=tell)
    world.until(lambda: len(answers) == 200)
    world.settle()
    assert all(done for _, done in answers)
    for member in world.members:
        own = [number for (who, number), _ in answers if who == member.number]
        assert own == list(range(100))
    assert [len(live(hearer)) for hearer in hearers] == [200, 200]


def test_the_last_messages_are_kept_for_those_who_come_later(bus_world):
    world = bus_world
    publisher, other = world.members
    for number in range(30):
        assert publisher.bus.publish("t", b"%d" % number, retain=5)
    assert publisher.bus.publish("t", b"not kept")
    world.settle()
    hearer = Subscriber(other.bus, "t")
    world.until(lambda: "ready" in hearer.heard)
    publisher.bus.publish("t", b"live")
    world.settle()
    assert hearer.payloads == [b"25", b"26", b"27", b"28", b"29", "ready", b"live"]
    assert [each.retained for each in hearer.heard if each != "ready"] == [True] * 5 + [False]
    assert {each.sender for each in hearer.heard if each != "ready"} == {publisher.bus.member}
    publisher.bus.publish("t", b"shorter", retain=2)
    world.settle()
    again = Subscriber(publisher.bus, "t")
    world.settle()
    assert again.payloads == [b"29", b"shorter", "ready"]


def test_between_what_is_kept_and_what_comes_nothing_is_missing_and_nothing_comes_twice(bus_world):
    world = bus_world
    chance, hearers, numbers = random.Random(3), [], itertools.count()
    publisher = world.members[0]

    def publish_some() -> None:
        for _ in range(chance.randint(1, 10)):
            assert publisher.bus.publish("t", b"%d" % next(numbers), retain=1000)

    for number in range(20):
        publish_some()
        member = world.members[number % 2]
        hearers.append(Subscriber(member.bus, "t"))
        publish_some()
        world.turn()
    world.until(lambda: all("ready" in hearer.heard for hearer in hearers))
    world.settle()
    wanted = [b"%d" % number for number in range(next(numbers))]
    for hearer in hearers:
        assert [payload for _, _, payload in live(hearer)] == wanted
        at = hearer.heard.index("ready")
        assert all(each.retained for each in hearer.heard[:at])
        assert not any(each.retained for each in hearer.heard[at + 1 :])


def test_what_one_publishes_and_subscribes_to_is_done_in_that_order(bus_world):
    hearers = publish_and_subscribe(bus_world.members[0])
    bus_world.settle()
    assert [hearer.payloads for hearer in hearers] == PUBLISHED_AND_SUBSCRIBED


def test_prefixes_hear_all_topics_that_begin_so_once_for_each_subscription(bus_world):
    world = bus_world
    publisher, other = world.members
    odd = "room.*[a]?\\^$é 7"
    for number, topic in enumerate(["room.1", "room.2", "room.1", odd, "roomy"]):
        assert publisher.bus.publish(topic, b"%d" % number, retain=10)
    world.settle()
    exact, part, again = (
        Subscriber(other.bus, "room.1"),
        Subscriber(other.bus, "room.", prefix=True),
        Subscriber(other.bus, "room.", prefix=True),
    )
    narrow = Subscriber(publisher.bus, "room.*[", prefix=True)
    world.until(lambda: all("ready" in each.heard for each in (exact, part, again, narrow)))
    assert exact.payloads == [b"0", b"2", "ready"]
    assert sorted(part.payloads[:-1]) == sorted(again.payloads[:-1]) == [b"0", b"1", b"2", b"3"]
    assert narrow.payloads == [b"3", "ready"]
    for number, topic in enumerate(["room.1", "room.9", "roomy", "room.1", odd], 10):
        publisher.bus.publish(topic, b"%d" % number)
    world.settle()
    assert exact.payloads[3:] == [b"10", b"13"]
    assert part.payloads[5:] == again.payloads[5:] == [b"10", b"11", b"13", b"14"]
    assert narrow.payloads[2:] == [b"14"]
    other.bus.unsubscribe("room.", prefix=True)
    publisher.bus.publish("room.1", b"after")
    world.settle()
    assert exact.payloads[-1] == b"after"
    assert len(part.payloads) == len(again.payloads) == 9


def test_after_unsubscribing_nothing_more_is_heard(bus_world):
    world = bus_world
    publisher, other = world.members
    gone = subscribed(world, "t")[1]
    for number in range(20):
        publisher.bus.publish("t", b"%d" % number)
    world.turn()
    other.bus.unsubscribe("t")
    heard = len(gone.heard)
    publisher.bus.publish("t", b"more", retain=1)
    world.settle()
    assert len(gone.heard) == heard
    pending = Subscriber(other.bus, "t")
    other.bus.unsubscribe("t")
    again = Subscriber(other.bus, "t")
    world.settle()
    assert pending.heard == []
    assert again.payloads == [b"more", "ready"]
