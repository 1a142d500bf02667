"""The bus over Redis where somebody else has put something where an entry of the bus would be."""

from __future__ import annotations

from functools import partial

import pytest

from host.telemetry.events import BUS_AWAY, BUS_CONNECTED, BUS_ENTRY_FOREIGN, BUS_ENTRY_USABLE
from support.bus_world import BusHost, World, claimed, live, more_members, subscribed
from support.bus_world import settings as redis_settings
from support.buses import Subscriber
from support.redis_server import RedisServer

pytestmark = [
    pytest.mark.process,
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]
P = "prefork:{a}:"
settings = partial(redis_settings, namespace="a")


@pytest.fixture
def world(redis_server: RedisServer, worlds) -> World:
    """Two hosts with a member each."""
    world = worlds(*[settings(redis_server)] * 2)
    more_members(world, 2)
    return world


def foreign(host: BusHost) -> list[str]:
    """Return the keys that `status` tells of."""
    assert host.bridge is not None
    return list(host.bridge.state()["foreign_entries"])


def told(host: BusHost, event) -> list[str]:
    return [each["key"] for each in host.told.of(event)]


def connections_of(server: RedisServer) -> int:
    """Return how many connections there have been."""
    return int(server.ask("INFO", "stats")["total_connections_received"])


def is_usable_again(world: World, host: BusHost, key: str) -> None:
    """Have the log and `status` tell of one entry, once it is deleted, that it can be used."""
    world.until(lambda: not foreign(host))
    assert told(host, BUS_ENTRY_FOREIGN) == told(host, BUS_ENTRY_USABLE) == [key]
    assert [each.connections for each in world.hosts] == [1, 1]


def test_a_table_whose_name_is_taken_is_refused_alone(redis_server, world):
    """Its values are not known, its changes are not done; all else goes on."""
    redis_server.ask("SET", f"{P}table:t", "x")
    hearer = subscribed(world, "t")[0]
    member, host, answers = world.members[0], world.hosts[0], []
    table = member.bus.table("t")
    for _ in range(3):
        table.set("k", b"v", lambda done: answers.append(("set", done)))
        table.get("k", lambda known, value: answers.append(("get", known, value)))
        table.items(lambda items: answers.append(("items", items)))
    member.bus.table("other").set("k", b"v", lambda done: answers.append(("other", done)))
    member.bus.publish("t", b"x")
    world.until(lambda: len(answers) == 10 and foreign(host))
    assert sorted(set(map(str, answers))) == [
        "('get', False, None)",
        "('items', None)",
        "('other', True)",
        "('set', False)",
    ]
    assert foreign(host) == [f"{P}table:t"]
    redis_server.ask("DEL", f"{P}table:t")
    is_usable_again(world, host, f"{P}table:t")
    table.set("k", b"v", answers.append)
    world.until(lambda: len(answers) == 11)
    assert answers[-1] is True
    world.settle()
    assert [payload for *_, payload in live(hearer)] == [b"x"]


def test_a_topic_whose_ring_is_taken_goes_on_and_retains_nothing(redis_server, world):
    """Who subscribes to it is told that something is missing."""
    redis_server.ask("SET", f"{P}ring:t", "x")
    member, host, answers = world.members[0], world.hosts[0], []
    member.bus.publish("tea", b"o", retain=1)
    hearers = subscribed(world, "t")
    for number in range(3):
        member.bus.publish("t", b"%d" % number, retain=5, done=answers.append)
    world.until(lambda: len(answers) == 3 and foreign(host))
    world.settle()
    assert answers == [True] * 3
    assert [[payload for *_, payload in live(each)] for each in hearers] == [[b"0", b"1", b"2"]] * 2
    assert [topic for topic, _ in member.told] == ["bus.lost"]
    every = Subscriber(member.bus, "t", prefix=True)
    world.until(lambda: "ready" in every.heard)
    assert b"o" in every.payloads
    redis_server.ask("DEL", f"{P}ring:t")
    is_usable_again(world, host, f"{P}ring:t")
    member.bus.publish("t", b"3", retain=5, done=answers.append)
    world.until(lambda: len(answers) == 4)
    late = Subscriber(member.bus, "t")
    world.until(lambda: "ready" in late.heard)
    assert late.payloads == [b"3", "ready"]


def test_a_member_whose_keys_have_no_name_gets_none_and_others_do(redis_server, world):
    one, other = world.members
    redis_server.ask("SET", f"{P}keys:{one.bus.member}", "x")
    assert not claimed(world, one, "k")
    assert claimed(world, other, "k")
    world.until(lambda: foreign(world.hosts[0]))
    redis_server.ask("DEL", f"{P}keys:{one.bus.member}")
    is_usable_again(world, world.hosts[0], f"{P}keys:{one.bus.member}")
    assert claimed(world, one, "l")


def test_keys_of_a_member_that_ends_are_free_though_their_set_is_gone(redis_server, world):
    one, other = world.members
    assert claimed(world, one, "k")
    redis_server.ask("SET", f"{P}keys:{one.bus.member}", "x")
    world.hosts[0].kill(one)
    world.until(lambda: other.left)
    assert claimed(world, other, "k")


NEEDED = ["bus", "nodes", "owners", "log", "rings", "table-bytes"]


@pytest.mark.parametrize("name", [*NEEDED, "node:", "members:", "refused:"])
def test_what_nothing_goes_on_without_is_told_of_until_it_is_deleted(redis_server, world, name):
    """The host waits, and owns again what nobody else has got meanwhile."""
    host, member = world.hosts[0], world.members[0]
    assert claimed(world, member, "k")
    fence = member.bus.fence("k")
    key = f"{P}{name}" + (host.router.hub.node if name.endswith(":") else "")
    redis_server.ask("SET", key, "x")
    wanted = f"what is in the broker at {key} is no "
    world.until(lambda: host.bridge.state()["cause"].startswith(wanted))
    answers = []
    member.bus.publish("t", b"x", done=answers.append)
    world.during(1.0)
    (away,) = host.told.of(BUS_AWAY)
    assert away["cause"].startswith(wanted)
    assert "delete it (DEL)" in away["cause"]
    assert not answers
    redis_server.ask("DEL", key)
    world.until(lambda: answers and len(host.told.of(BUS_CONNECTED)) == 2)
    assert answers == [True]
    world.until(lambda: member.bus.fence("k") is not None)
    assert member.bus.fence("k") >= fence
    assert not claimed(world, world.members[1], "k")


def test_a_broker_that_cannot_be_used_is_tried_less_and_less_often(redis_server, world):
    """Twice in some ten seconds, not four times a second for each host."""
    redis_server.ask("SET", f"{P}log", "x")
    world.during(4.0)
    before = connections_of(redis_server)
    world.during(3.0)
    assert connections_of(redis_server) - before < 10


def test_nothing_that_was_said_is_taken_for_done_where_the_log_is_taken(redis_server, world):
    """A script that fails halfway has done what was before: Redis takes nothing back."""
    hearer = subscribed(world, "t")[1]
    answers = []
    redis_server.ask("DEL", f"{P}log")
    redis_server.ask("SET", f"{P}log", "x")
    member = world.members[0]
    member.bus.publish("t", b"x", retain=3, done=answers.append)
    world.until(lambda: world.hosts[0].told.of(BUS_AWAY))
    assert not answers
    redis_server.ask("DEL", f"{P}log")
    world.until(lambda: answers)
    world.settle()
    assert answers == [True]
    assert b"x" in hearer.payloads
    late = Subscriber(member.bus, "t")
    world.until(lambda: "ready" in late.heard)
    assert late.payloads == [b"x", "ready"]
