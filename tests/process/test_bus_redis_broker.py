"""The bus over Redis where the broker is away, or a host is for too long."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from support.bus_world import (
    LEASE,
    Publisher,
    World,
    assert_exactly_once,
    claimed,
    live,
    more_members,
    numbers_of,
    settings,
    subscribed,
)
from support.buses import Subscriber
from support.redis_server import RedisServer

pytestmark = [
    pytest.mark.process,
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


@pytest.fixture
def world(redis_server: RedisServer, worlds: Callable[..., World]) -> World:
    """Two hosts with a member each."""
    world = worlds(*[settings(redis_server)] * 2)
    more_members(world, 2)
    return world


def test_a_broker_that_stops_for_less_than_the_lease_costs_a_moment(redis_server, worlds):
    world = worlds(*[settings(redis_server, lease_seconds=6.0)] * 2)
    more_members(world, 2)
    hearers = subscribed(world, "t")
    assert claimed(world, world.members[0], "k")
    fence = world.members[0].bus.fence("k")
    publishers = {member: Publisher(member) for member in world.members}
    for publisher in publishers.values():
        publisher.say(50)
    world.turn()
    with redis_server.paused():
        for publisher in publishers.values():
            publisher.say(50)
        world.until(lambda: not any(host.is_connected for host in world.hosts))
    assert_exactly_once(world, hearers, publishers)
    assert world.members[0].bus.fence("k") == fence


def test_a_broker_that_stops_for_longer_than_the_lease_has_nobody_trust_its_keys(
    redis_server, world
):
    """Nobody has taken them meanwhile; what was published is said once when it is back."""
    one, other = world.members
    hearers = subscribed(world, "t")
    assert claimed(world, one, "k")
    fence = one.bus.fence("k")
    publishers = {member: Publisher(member) for member in world.members}
    with redis_server.paused():
        for publisher in publishers.values():
            publisher.say(50)
        world.until(lambda: one.bus.fence("k") is None)
        world.during(LEASE)
    world.until(lambda: one.bus.fence("k") or one.told)
    for member, publisher in publishers.items():
        world.until(lambda: publisher.all_answered)  # noqa: B023
        assert all(publisher.answers.values())
        for hearer in hearers:
            world.until(lambda: len(numbers_of(hearer, member)) >= publisher.said)  # noqa: B023
            assert numbers_of(hearer, member) == list(range(50))
    assert one.bus.fence("k") >= fence
    assert not claimed(world, other, "k")
    assert not one.told
    assert not other.told


def test_a_broker_that_restarts_empty_has_all_told_of_a_loss_and_keys_claimed_again(
    redis_server, world
):
    one, other = world.members
    hearers = subscribed(world, "t")
    assert claimed(world, one, "k")
    fence = one.bus.fence("k")
    publisher = Publisher(one)
    publisher.say(10, retain=5)
    world.until(lambda: publisher.all_answered)
    redis_server.pause()
    publisher.say(10)
    for _ in range(10):
        world.turn()
    redis_server.restart(empty=True)
    world.until(lambda: publisher.all_answered)
    assert [publisher.answers[number] for number in range(20)] == [True] * 10 + [False] * 10
    for member in world.members:
        world.until(lambda: ("bus.lost", b"0") in member.told)  # noqa: B023
    world.until(lambda: one.bus.fence("k"))
    assert one.bus.fence("k") > fence
    assert not claimed(world, other, "k")
    one.bus.release("k")
    world.settle()
    fence = one.bus.fence("k") or fence
    assert claimed(world, other, "k")
    assert other.bus.fence("k") > fence
    late = Subscriber(other.bus, "t")
    publisher.say(5)
    world.settle()
    assert numbers_of(hearers[0], one) == numbers_of(hearers[1], one)
    assert numbers_of(hearers[1], one)[-5:] == list(range(20, 25))
    assert late.heard[0] == "ready"


def test_a_broker_that_restarts_with_its_data_keeps_keys_tables_and_what_is_retained(
    redis_server, worlds
):
    """A loss is told of all the same: what it has kept may be old."""
    world = worlds(*[settings(redis_server, lease_seconds=20.0)] * 2)
    more_members(world, 2)
    one, other = world.members
    assert claimed(world, one, "k")
    said = []
    one.bus.table("t").set("k", b"v", said.append)
    one.bus.publish("t", b"kept", retain=3, done=said.append)
    world.until(lambda: said == [True, True])
    redis_server.restart(empty=False)
    for member in world.members:
        world.until(lambda: member.told)  # noqa: B023
        assert member.told == [("bus.lost", b"0")]
    assert not claimed(world, other, "k")
    world.until(lambda: one.bus.fence("k"))  # its host may not have asked for it again yet
    other.bus.table("t").get("k", lambda *answer: said.append(answer))
    hearer = Subscriber(other.bus, "t")
    world.until(lambda: len(said) == 3 and "ready" in hearer.heard)
    assert said[2] == (True, b"v")
    assert hearer.payloads == [b"kept", "ready"]
    assert not one.left
    assert not other.left


def test_a_broker_that_restarts_with_old_data_does_not_make_two_owners(redis_server, worlds):
    """It has forgotten that the key was granted: whoever owns it asks for it again."""
    world = worlds(*[settings(redis_server, lease_seconds=20.0)] * 2)
    more_members(world, 2)
    one, other = world.members
    redis_server.ask("CONFIG", "SET", "appendonly", "no")
    redis_server.ask("SAVE")
    assert claimed(world, one, "k")
    redis_server.end()
    for path in redis_server.folder.rglob("*.aof*"):
        path.unlink()
    redis_server.settings("--appendonly", "no")
    redis_server.start()
    for member in world.members:
        world.until(lambda: member.told)  # noqa: B023
    world.until(lambda: one.bus.fence("k") is not None)
    assert not claimed(world, other, "k")
    assert one.bus.fence("k")


def test_when_all_is_deleted_in_the_broker_the_hosts_join_anew(redis_server, world):
    one, other = world.members
    hearers = subscribed(world, "t")
    assert claimed(world, one, "k")
    fence = one.bus.fence("k")
    redis_server.ask("FLUSHALL")
    for member in world.members:
        world.until(lambda: ("bus.lost", b"0") in member.told)  # noqa: B023
    world.until(lambda: (one.bus.fence("k") or 0) > fence)
    assert not claimed(world, other, "k")
    publisher = Publisher(other)
    world.until(lambda: all(host.is_connected for host in world.hosts))
    publisher.say(20)
    world.settle()
    assert [numbers_of(hearer, other) for hearer in hearers] == [list(range(20))] * 2


def test_a_host_that_was_away_for_too_long_is_told_who_has_its_key(redis_server, world):
    """At no time two members trust that the key is theirs."""
    one, other = world.members
    hearer = subscribed(world, "t")[0]
    assert claimed(world, one, "k")
    first = one.bus.fence("k")
    os.kill(world.hosts[0].pid, signal.SIGSTOP)
    answers: list[bool] = []
    is_asking = False

    def note(owned: bool) -> None:
        nonlocal is_asking
        is_asking = False
        answers.append(owned)

    while True not in answers:
        if not is_asking:
            is_asking = True
            other.bus.claim("k", note)
        world.turn()
        assert one.bus.fence("k") is None or other.bus.fence("k") is None
    assert one.bus.fence("k") is None
    second = other.bus.fence("k")
    assert second > first
    name = one.bus.member
    world.until(lambda: name in other.left)
    publisher = Publisher(other)
    publisher.say(30)
    world.until(lambda: publisher.all_answered)
    os.kill(world.hosts[0].pid, signal.SIGCONT)
    world.until(lambda: ("bus.taken", b"k") in one.told)
    assert one.bus.fence("k") is None
    world.until(lambda: len(numbers_of(hearer, other)) == 30)
    assert one.told == [("bus.taken", b"k")]
    assert other.bus.fence("k") == second
    other.bus.release("k")
    world.settle()
    assert claimed(world, one, "k")
    assert one.bus.fence("k") > second


def test_a_host_that_ends_frees_its_keys_at_once(redis_server, worlds):
    """And what its members have said last is heard, those that have ended just before as well."""
    world = worlds(*[settings(redis_server, lease_seconds=3600.0)] * 2)
    more_members(world, 3)
    one, also_there, other = (*world.hosts[0].members.values(), *world.hosts[1].members.values())
    assert claimed(world, also_there, "k")
    hearer = Subscriber(other.bus, "t")
    world.until(lambda: "ready" in hearer.heard)
    for number in range(300):
        one.bus.publish("t", b"%d" % number)
    world.hosts[0].kill(one)
    world.hosts[0].end()
    world.until(lambda: also_there.bus.member in other.left)
    assert claimed(world, other, "k")
    assert numbers_of(hearer, one) == list(range(300))
    assert other.left == [one.bus.member, also_there.bus.member]


def test_a_claim_that_the_broker_does_not_answer_is_refused_and_what_is_granted_later_given_back(
    redis_server, worlds
):
    world = worlds(*[settings(redis_server, lease_seconds=20.0, claim_timeout_seconds=0.2)] * 2)
    more_members(world, 2)
    one, other = world.members
    with redis_server.paused():
        assert not claimed(world, one, "k")
    world.until(lambda: claimed(world, other, "k"))
    assert one.bus.fence("k") is None


def test_the_keys_of_a_host_that_is_killed_are_free_after_its_lease(redis_server, world):
    one, other = world.members
    assert claimed(world, one, "k")
    fence = one.bus.fence("k")
    killed = world.hosts.pop(0)  # nobody looks after it any more
    os.kill(killed.pid, signal.SIGKILL)
    world.until(lambda: claimed(world, other, "k"))
    assert other.bus.fence("k") > fence
    world.until(lambda: other.left)
    assert other.left == [one.bus.member]
    killed.close()


def test_more_than_the_broker_keeps_is_a_loss_that_is_told(redis_server, worlds):
    """Nothing that was published later comes before the word of it."""
    world = worlds(*[settings(redis_server, lease_seconds=60.0)] * 2)
    more_members(world, 2)
    one, slow = world.members
    heard = []
    for topic in ("t", "bus.lost"):
        slow.bus.subscribe(topic, lambda each: heard.append((each.topic, each.payload[:4])))
    quick = subscribed(world, "t")[0]
    os.kill(world.hosts[1].pid, signal.SIGSTOP)
    for number in range(50):
        payload = b"%4d" % number + bytes(500_000)
        world.until(lambda: one.bus.publish("t", payload))  # noqa: B023
    world.until(lambda: len(live(quick)) == 50)
    os.kill(world.hosts[1].pid, signal.SIGKILL)
    world.until(lambda: slow.told)
    one.bus.publish("t", b"  50")
    world.settle()
    at = heard.index(("bus.lost", b"0"))
    before = [int(payload) for _, payload in heard[:at]]
    assert before == list(range(len(before)))
    assert len(before) < 50
    assert heard[at:] == [("bus.lost", b"0"), ("t", b"  50")]
    assert not one.told
