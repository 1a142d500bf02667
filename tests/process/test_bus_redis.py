"""The bus over Redis at its start, and where the connection breaks or the bridge ends."""

from __future__ import annotations

import os
import random
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from functools import partial
from hashlib import sha1

import pytest

from host.bridge.scripts import SCRIPTS
from host.runtime.loop import READ
from host.settings import Lifecycle
from support.bus_world import (
    PUBLISHED_AND_SUBSCRIBED,
    Publisher,
    World,
    assert_exactly_once,
    claimed,
    live,
    more_members,
    publish_and_subscribe,
    settings,
    subscribed,
)
from support.buses import Subscriber
from support.redis_server import RedisServer

pytestmark = [
    pytest.mark.process,
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


class Relay:
    """Stands between a bridge and the server; it may keep replies, and has all commands.

    Args:
        world: whose loop it uses.
        server: what it leads to.

    Attributes:
        commands: what has come.
        keeps_from: replies are kept once this has come, as long as it is not empty.
    """

    def __init__(self, world: World, server: RedisServer) -> None:
        self._loop, self._server = world.loop, server
        self.commands, self.keeps_from = bytearray(), b""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listening]
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}"
        self._loop.add(self._listening.fileno(), READ, self._accept)

    def _accept(self, _mask: int) -> None:
        client, server = self._listening.accept()[0], socket.socket(socket.AF_UNIX)
        server.connect(str(self._server.path))
        self._sockets += [client, server]
        self._loop.add(client.fileno(), READ, partial(self._take_command, client, server))
        self._loop.add(server.fileno(), READ, partial(self._pass_reply, client, server))

    def _take_command(self, client: socket.socket, server: socket.socket, _mask: int) -> None:
        data = client.recv(65_536)
        self.commands += data
        if data:
            server.sendall(data)
        else:
            self._loop.remove(client.fileno())

    def _pass_reply(self, client: socket.socket, server: socket.socket, _mask: int) -> None:
        if self.keeps_from and self.keeps_from in self.commands:
            self._loop.remove(server.fileno())
        else:
            client.sendall(server.recv(65_536))

    def close(self) -> None:
        for each in self._sockets:
            self._loop.remove(each.fileno())
            each.close()


@pytest.fixture
def world(redis_server: RedisServer, worlds: Callable[..., World]) -> World:
    """Two hosts with a member each."""
    world = worlds(*[settings(redis_server)] * 2)
    more_members(world, 2)
    return world


def has_reconnected(world: World, before: list[int]) -> bool:
    """Tell whether all hosts have had more connections than before."""
    return all(host.connections > was for host, was in zip(world.hosts, before, strict=True))


def test_all_waits_for_a_broker_that_is_away_at_the_start(redis_server, worlds):
    redis_server.end()
    world = worlds(settings(redis_server, max_queued_bytes=65_536, claim_timeout_seconds=0.2))
    member = world.add(world.hosts[0])
    hearer = Subscriber(member.bus, "t")
    answers, claims, known = [], [], []
    member.bus.claim("k", claims.append)
    member.bus.table("t").get("k", lambda *answer: known.append(answer))
    member.bus.table("t").set("k", b"x", known.append)
    member.bus.table("t").items(known.append)
    world.until(lambda: len(known) == 2 and claims)
    assert known == [(False, None), None]
    assert claims == [False]
    taken = 0
    while member.bus.publish("t", b"%d " % taken + bytes(1000), done=answers.append):
        taken += 1
        world.turn()
    assert 40 < taken < 100
    assert not hearer.heard
    assert answers == []
    redis_server.start()
    world.until(lambda: "ready" in hearer.heard)
    world.until(lambda: member.bus.publish("t", b"last"))
    world.settle()
    assert answers == [False] + [True] * taken
    assert known[2:] == [True]
    assert not member.told
    world.until(lambda: claimed(world, member, "k"))


def test_what_is_published_and_subscribed_to_before_the_broker_is_there_is_done_in_that_order(
    redis_server, worlds
):
    world = worlds(settings(redis_server))
    hearers = publish_and_subscribe(world.add(world.hosts[0]))
    world.until_ready()
    world.settle()
    assert [hearer.payloads for hearer in hearers] == PUBLISHED_AND_SUBSCRIBED


def test_a_claim_waits_for_the_broker_and_its_fencing_number_is_known_with_the_answer(
    redis_server, worlds
):
    redis_server.end()
    world = worlds(settings(redis_server, claim_timeout_seconds=60.0))
    member = world.add(world.hosts[0])
    known: list[tuple[bool, int | None]] = []
    member.bus.claim("k", lambda owned: known.append((owned, member.bus.fence("k"))))
    redis_server.start()
    world.until(lambda: known)
    [(owned, fence)] = known
    assert owned
    assert fence is not None


def test_who_subscribes_and_unsubscribes_while_the_broker_is_away_leaves_nothing_behind(
    redis_server, worlds
):
    redis_server.end()
    world = worlds(settings(redis_server))
    member = world.add(world.hosts[0])
    heard = []
    for number in range(500):
        for prefix in (False, True):
            member.bus.subscribe(f"t{number}", heard.append, prefix=prefix)
            member.bus.unsubscribe(f"t{number}", prefix=prefix)
    member.bus.subscribe("t", heard.append)
    member.bus.unsubscribe("t")
    hearer = Subscriber(member.bus, "t")
    for _ in range(20):
        world.turn()
    names = [name for _, _, name, *_ in world.hosts[0].router.hub.state().confirming]
    assert sorted(names) == [b"bus.left", b"bus.lost", b"bus.taken", b"settled", b"t"]
    redis_server.start()
    world.until(lambda: "ready" in hearer.heard)
    member.bus.publish("t", b"x")
    world.settle()
    assert hearer.payloads == ["ready", b"x"]
    assert heard == []


def test_connections_that_break_again_and_again_lose_nothing_and_nothing_comes_twice(
    redis_server, worlds
):
    """The lease is longer than all that a busy machine may take for it."""
    world = worlds(*[settings(redis_server, lease_seconds=30.0)] * 2)
    more_members(world, 2)
    hearers = subscribed(world, "t")
    publishers = {member: Publisher(member) for member in world.members}
    chance = random.Random(5)
    for _ in range(10):
        before = [host.connections for host in world.hosts]
        redis_server.cut()
        while not has_reconnected(world, before):
            for publisher in publishers.values():
                if publisher.said - len(publisher.answers) < 500:
                    publisher.say(chance.randint(0, 20))
            world.turn()
    assert_exactly_once(world, hearers, publishers)


def test_changes_of_tables_are_done_once_and_in_order_over_connections_that_break(
    redis_server, worlds
):
    """Each takes the place of the number that was there, or is refused since another one was."""
    world = worlds(*[settings(redis_server, lease_seconds=30.0)] * 2)
    more_members(world, 2)
    answers: dict[str, list[bool | None]] = {}
    expected: dict[str, list[bool]] = {}
    chance = random.Random(6)
    for _ in range(10):
        before = [host.connections for host in world.hosts]
        redis_server.cut()
        while not has_reconnected(world, before):
            for member in world.members:
                name, table = member.bus.member, member.bus.table("t")
                mine, wanted = answers.setdefault(name, []), expected.setdefault(name, [])
                last = wanted.count(True)
                if len(wanted) - len(mine) > 500:
                    continue
                # Nobody else changes this key: the answer is known before.
                is_right = chance.random() < 0.5
                now = b"%d" % last if last else None
                value = b"%d" % (last + 1)
                table.compare_and_set(name, now if is_right else b"x", value, mine.append)
                wanted.append(is_right)
            world.turn()
    world.until(lambda: all(len(answers[name]) == len(expected[name]) for name in expected))
    assert answers == expected
    found: list[dict[str, bytes] | None] = []
    world.members[0].bus.table("t").items(found.append)
    world.until(lambda: found)
    assert found == [{name: b"%d" % each.count(True) for name, each in expected.items()}]
    kept = redis_server.ask("KEYS", "prefork:*refused:*")
    assert all(redis_server.ask("ZCARD", key) <= 600 for key in kept)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_bridge_that_dies_or_hangs_costs_a_moment(redis_server, worlds, how):
    """One that hangs is killed by the supervisor; the lease is longer than all of that."""
    world = worlds(
        *[settings(redis_server, lease_seconds=30.0)] * 2, limits=Lifecycle(hang_seconds=1.0)
    )
    more_members(world, 2)
    hearers = subscribed(world, "t")
    owner = world.members[0]
    assert claimed(world, owner, "k")
    fence = owner.bus.fence("k")
    publishers = {member: Publisher(member) for member in world.members}
    for _ in range(3):
        before = [host.connections for host in world.hosts]
        for publisher in publishers.values():
            publisher.say(50)
        world.turn()
        for host in world.hosts:
            os.kill(host.pid, how)
        for publisher in publishers.values():
            publisher.say(50)
        world.until(partial(has_reconnected, world, before))
    assert_exactly_once(world, hearers, publishers)
    assert owner.bus.fence("k") == fence
    assert not claimed(world, world.members[1], "k")


def test_all_members_of_a_host_have_one_connection(redis_server, worlds):
    world = worlds(*[settings(redis_server)] * 2)
    more_members(world, 20)
    hearers = subscribed(world, "t")
    world.members[0].bus.publish("t", b"x")
    world.settle()
    assert all(len(live(hearer)) == 1 for hearer in hearers)
    assert len(redis_server.clients()) == 2


def test_a_beat_does_not_wait_behind_all_that_was_published(redis_server, worlds):
    """Else a host that says what had to wait would be taken for dead, and say it again."""
    world = worlds()
    beat, publish = (
        sha1(SCRIPTS[name].encode()).hexdigest().encode() for name in ("beat", "publish")
    )
    with closing(Relay(world, redis_server)) as relay:
        world.add_host(settings(redis_server, url=relay.url))
        more_members(world, 1)
        relay.commands.clear()
        relay.keeps_from = publish  # a beat before it has its answer: else the server were away
        publisher = Publisher(world.members[0])
        publisher.say(2000)
        world.until(lambda: beat in relay.commands.partition(publish)[2])
        before, _, _ = relay.commands.rpartition(beat)
        assert 0 < before.count(publish) < 300
        relay.keeps_from = b""
        world.until(lambda: publisher.all_answered)
        assert all(publisher.answers.values())
