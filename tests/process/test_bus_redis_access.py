"""Who the bus over Redis talks to, as whom, and what it makes of those that are no broker."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from host.bridge.link import LinkError
from host.bridge.trial import try_broker
from host.bus.broker import BrokerSettings
from host.settings import BusSettings
from host.telemetry.events import BUS_AWAY
from support.bus_world import (
    BusHost,
    World,
    broker_of,
    live,
    more_members,
    subscribed,
)
from support.bus_world import settings as redis_settings
from support.certificates import Authority
from support.redis_server import RedisServer, free_port

pytestmark = [
    pytest.mark.process,
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]
settings = partial(redis_settings, lease_seconds=6.0)
PAGE = Path(__file__).parents[2] / "docs" / "bus.md"


def causes(host: BusHost) -> list[str]:
    return [each["cause"] for each in host.told.of(BUS_AWAY)]


def do_all(world: World) -> None:
    """Have a member do all that a bus can do."""
    more_members(world, 2)
    one, other = world.members
    hearers = [
        *subscribed(world, "room.1"),
        *subscribed(world, "room.", prefix=True),
    ]
    said: list[object] = []
    large = bytes(range(256)) * 1000  # many records of TLS, and many reads
    one.bus.publish("room.1", large, retain=1, done=said.append)
    one.bus.claim("k", said.append)
    one.bus.table("t").set("a", b"1", said.append)
    world.until(lambda: len(said) == 3)
    assert said == [True] * 3
    refused: list[object] = []
    for _ in range(2):
        one.bus.table("t").compare_and_set("a", b"another", None, refused.append)
    one.bus.table("t").delete("none", refused.append)
    world.until(lambda: len(refused) == 3)
    assert refused == [False, False, True]
    world.until(lambda: all(map(live, hearers)))  # or it might be unsubscribed from before
    one.bus.release("k")
    one.bus.unsubscribe("room.1")
    one.bus.unsubscribe("room.", prefix=True)
    other.bus.table("t").items(said.append)
    world.settle()
    world.until(lambda: len(said) == 4)
    assert said[3] == {"a": b"1"}
    assert all([payload for *_, payload in live(hearer)] == [large] for hearer in hearers)
    other.bus.claim("k", said.append)
    world.until(lambda: len(said) == 5)
    assert said[4] is True
    assert all(host.connections == 1 for host in world.hosts)


@pytest.fixture
def locked_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server with a password."""
    server = RedisServer(tmp_path, password="s3cret\u00e4")
    yield server
    server.close()


def test_a_password(locked_redis, worlds):
    do_all(worlds(*[settings(locked_redis, password="s3cret\u00e4")] * 2))


@pytest.mark.parametrize("password", ["", "wrong"])
def test_a_wrong_password_is_told_and_tried_again(locked_redis, worlds, password):
    world = worlds(settings(locked_redis, password=password))
    member = world.add(world.hosts[0])
    world.until(lambda: causes(world.hosts[0]))
    assert "NOAUTH" in causes(world.hosts[0])[0] or "WRONGPASS" in causes(world.hosts[0])[0]
    assert "wrong" not in causes(world.hosts[0])[0]
    locked_redis.ask("CONFIG", "SET", "requirepass", password)
    world.until(lambda: member.is_ready)
    assert len(causes(world.hosts[0])) == 1


def test_a_user_with_the_rights_that_the_page_names(redis_server, worlds):
    redis_server.ask("ACL", "SETUSER", *acl_of_page())
    url = redis_server.url.replace("//", "//prefork@")
    world = worlds(*[settings(redis_server, url=url, namespace="game", password="PASSWORD")] * 2)
    do_all(world)
    world.hosts[0].kill(world.members[0])
    world.until(lambda: world.members[0].left)
    assert {each["user"] for each in redis_server.clients()} == {"prefork"}
    assert not redis_server.ask("ACL", "LOG")


def acl_of_page() -> list[str]:
    return PAGE.read_text().partition("\nACL SETUSER ")[2].partition("```")[0].split()


@pytest.fixture
def user(redis_server) -> Callable[..., str]:
    """Try a broker as the user of the page with other rights: what is refused; "" for nothing."""

    def tried(*rights: str) -> str:
        redis_server.ask("ACL", "SETUSER", *acl_of_page(), *rights)
        url = redis_server.url.replace("//", "//prefork@")
        chosen = settings(redis_server, url=url, namespace="game", password="PASSWORD")
        try:
            asyncio.run(try_broker(broker_of(chosen)))
        except LinkError as error:
            return str(error)
        return ""

    return tried


def test_a_right_that_a_user_has_not_is_named_when_it_is_tried(user):
    assert user() == ""
    for right in acl_of_page():
        command = right[1:].split("|")[0]
        if right.startswith("+") and command not in ("hello", "auth", "select", "unsubscribe"):
            assert command.upper() in user(f"-{right[1:]}"), right
            user(right)
    assert user("-zpopmin", "-pexpire").endswith("its user has no right to PEXPIRE, ZPOPMIN")


@pytest.mark.parametrize(
    ("rights", "words"),
    [
        (["resetchannels", "&other:*"], ["PUBLISH", "SUBSCRIBE", "PSUBSCRIBE", "channel"]),
        (["resetkeys", "~other:*"], ["EVALSHA", "keys"]),
    ],
)
def test_what_a_user_may_not_reach_is_named_when_it_is_tried(user, rights, words):
    found = user(*rights)
    assert all(word in found for word in words), found


def test_a_broker_that_takes_nothing_is_told_of_when_it_is_tried(redis_server):
    broker = broker_of(settings(redis_server))
    redis_server.ask("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(LinkError, match="it refuses ZADD: OOM"):
        asyncio.run(try_broker(broker))
    redis_server.ask("CONFIG", "SET", "maxmemory", "0")
    redis_server.ask("SET", f"{broker.prefix}log", "x")
    with pytest.raises(LinkError, match="log is no list"):
        asyncio.run(try_broker(broker))


def test_who_tries_a_broker_leaves_nothing_behind_and_is_not_heard(redis_server, worlds):
    world = worlds(settings(redis_server, namespace="a"))
    more_members(world, 1)
    hearer = subscribed(world, "c", prefix=True)[0]
    world.members[0].bus.publish("c", b"x")
    world.settle()
    keys = sorted(redis_server.ask("KEYS", "*"))
    for namespace in ("a", "b"):
        broker = broker_of(settings(redis_server, namespace=namespace))
        asyncio.run(try_broker(broker))
    world.members[0].bus.publish("c", b"y")
    world.settle()
    assert sorted(redis_server.ask("KEYS", "*")) == keys
    assert [payload for *_, payload in live(hearer)] == [b"x", b"y"]
    assert world.hosts[0].connections == 1


def test_a_broker_that_may_throw_keys_away_is_told_of_when_it_is_tried(redis_server):
    broker = broker_of(settings(redis_server))
    assert asyncio.run(try_broker(broker)).startswith("Redis ")
    for policy, is_dangerous in {"noeviction": 0, "volatile-lru": 0, "allkeys-lfu": 1}.items():
        redis_server.ask("CONFIG", "SET", "maxmemory-policy", policy)
        assert ("it takes noeviction" in asyncio.run(try_broker(broker))) is bool(is_dangerous)


def test_a_user_that_may_not_subscribe_is_told_so(redis_server, worlds):
    redis_server.ask("ACL", "SETUSER", "bus", "on", ">pw", "~*", "+@all", "resetchannels")
    url = redis_server.url.replace("//", "//bus@")
    world = worlds(settings(redis_server, url=url, password="pw"))
    member = world.add(world.hosts[0])
    world.until(lambda: any("NOPERM" in each for each in causes(world.hosts[0])))
    redis_server.ask("ACL", "SETUSER", "bus", "allchannels")
    world.until(lambda: member.is_ready)


def test_tls(tmp_path, worlds):
    """The broker shows a certificate, and asks for one."""
    authority = Authority(tmp_path)
    server_files, client_files = authority.files("redis", "127.0.0.1"), authority.files("client")
    port = free_port()
    words = ["--tls-port", str(port), "--tls-ca-cert-file", str(authority.file)]
    words += ["--tls-cert-file", str(server_files.certificate)]
    words += ["--tls-key-file", str(server_files.key)]
    folder = tmp_path / "data"
    folder.mkdir()
    server = RedisServer(folder, *words)
    try:
        chosen = settings(server, url=f"rediss://127.0.0.1:{port}")
        strange = ssl.create_default_context()
        bare = authority.client()
        known = authority.client()
        known.load_cert_chain(client_files.certificate, client_files.key)
        for context, word in (
            (strange, "self-signed certificate"),
            (bare, ""),
        ):  # a reset, or its alert
            world = worlds()
            host = world.add_host(chosen, with_context(chosen, context))
            world.until(lambda: causes(host))  # noqa: B023
            assert word in "".join(causes(host))
            assert host.connections == 0
            host.end()
        world = worlds()
        for _ in range(2):
            world.add_host(chosen, with_context(chosen, known))
        do_all(world)
    finally:
        server.close()


def with_context(chosen: BusSettings, context: ssl.SSLContext) -> BrokerSettings:
    plain = broker_of(chosen)
    return BrokerSettings(
        plain.address, plain.password, context, plain.namespace, plain.lease_seconds
    )


def test_a_unix_socket_and_another_database(redis_server, worlds):
    do_all(worlds(*[settings(redis_server, url=f"unix://{redis_server.path}?db=3")] * 2))
    assert int(redis_server.ask("DBSIZE")) == 0


def test_namespaces_know_nothing_of_each_other(redis_server, worlds):
    world = worlds(*[settings(redis_server, namespace=name) for name in ("a", "a.b")])
    one, other = (world.add(host) for host in world.hosts)
    world.until_ready()
    heard, said = [], []
    for member in (one, other):
        member.bus.subscribe("t", heard.append)
        member.bus.claim("k", said.append)
        member.bus.table("t").compare_and_set("k", None, b"x", said.append)
    one.bus.publish("t", b"x", retain=1)
    world.until(lambda: len(said) == 4 and heard)
    assert said == [True] * 4
    world.hosts[0].kill(one)
    other.bus.publish("t", b"y")
    world.until(lambda: len(heard) == 2)
    assert [each.payload for each in heard] == [b"x", b"y"]
    assert not other.left


RUBBISH = {
    "nothing": b"",
    "no Redis": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "an answer to no question": b"+OK\r\n" * 100,
    "a bulk without an end": b"$400000000\r\n" + b"x" * 1_000_000,
    "an array of billions": b"*2147483647\r\n" + b"+x\r\n" * 1000,
    "arrays in arrays": b"*1\r\n" * 100_000,
    "a wrong length": b"$-7\r\n",
    "zeros": bytes(100_000),
    "another HELLO": b"%1\r\n+server\r\n+other\r\n$3\r\nabc\r\n",
    "numbers": b":1\r\n" * 10,
    "a push": b">3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$3\r\nabc\r\n" * 1000,
}


class Pretender:
    """A TCP server that is no broker: it says the same to everyone."""

    def __init__(self, world: World, said: bytes) -> None:
        self._said, self._loop, self.clients = said, world.loop, []
        self._sock = socket.create_server(("127.0.0.1", 0))
        self._sock.setblocking(False)
        self.url = f"redis://127.0.0.1:{self._sock.getsockname()[1]}"
        self._loop.add(self._sock.fileno(), 1, self._accept)

    def _accept(self, _mask: int) -> None:
        client = self._sock.accept()[0]
        client.setblocking(False)
        self.clients.append(client)
        with suppress(OSError):
            client.send(self._said)

    def close(self) -> None:
        self._loop.remove(self._sock.fileno())
        for each in (self._sock, *self.clients):
            each.close()


@pytest.mark.parametrize("kind", RUBBISH)
def test_a_server_that_is_none_is_told_of_and_tried_again(worlds: Callable[..., World], kind):
    world = worlds()
    pretender = Pretender(world, RUBBISH[kind])
    host = world.add_host(BusSettings(url=pretender.url, node="n", lease_seconds=0.6))
    member = world.add(host)
    said = []
    member.bus.claim("k", said.append)
    world.until(lambda: len(pretender.clients) >= 4 and said)
    assert said == [False]
    assert causes(host)
    assert host.pid
    assert "helper_ended" not in host.told.names, host.told
    pretender.close()


def test_messages_that_are_none_do_no_harm(redis_server, worlds):
    world = worlds(*[settings(redis_server, namespace="a")] * 2)
    more_members(world, 2)
    hearers = [*subscribed(world, "t"), *subscribed(world, "t", prefix=True)]
    channel = "prefork:{a}:live:t"
    epoch = redis_server.ask("HGET", "prefork:{a}:bus", "epoch").decode()
    for rubbish in (
        b"",
        b"x",
        b"1 2 3 4 5",
        b"-1 %s s 1 tx" % epoch.encode(),
        b"99999999999999999999 %s s 1 tx" % epoch.encode(),
        b"10 %s s 1 \xff" % epoch.encode(),
        b"10 %s \xff 1 tx" % epoch.encode(),
        b"10 %s s 99 tx" % epoch.encode(),
        b"10 %s  1 tx" % epoch.encode(),
        b"10 %s s 1 t" % epoch.encode() + bytes(2_000_000),
        bytes(1000),
    ):
        redis_server.ask("PUBLISH", channel, rubbish)
    world.members[0].bus.publish("t", b"x")
    world.settle()
    assert [hearer.payloads for hearer in hearers] == [["ready", b"x"]] * 4
    assert [host.connections for host in world.hosts] == [1, 1]


def test_items_that_no_table_can_have_do_no_harm(redis_server, worlds):
    world = worlds(settings(redis_server, namespace="a"))
    more_members(world, 1)
    said = []
    table = world.members[0].bus.table("t")
    table.set("mine", b"v", said.append)
    world.until(lambda: said)
    redis_server.ask("HSET", "prefork:{a}:table:t", b"\xff", b"v", "large", bytes(2_000_000))
    table.items(said.append)
    table.get("large", lambda *answer: said.append(answer))
    world.until(lambda: len(said) == 3)
    assert said == [True, {"mine": b"v"}, (False, None)]
    assert world.hosts[0].connections == 1


def test_a_broker_that_cuts_off_who_reads_too_slowly_loses_nothing(redis_server, worlds):
    """It has a limit for what waits for a subscriber; what was missed is read again."""
    redis_server.ask("CONFIG", "SET", "client-output-buffer-limit", "pubsub 2500000 0 0")
    chosen = settings(redis_server, url=f"unix://{redis_server.path}", lease_seconds=60.0)
    world = worlds(chosen, chosen)
    more_members(world, 2)
    hearers = subscribed(world, "t")
    publisher = world.members[0]
    os.kill(world.hosts[1].pid, signal.SIGSTOP)
    said = 0
    while len(redis_server.clients()) > 1:
        assert said < 150, "16 MiB are kept of all messages"
        publisher.bus.publish("t", b"%d " % said + bytes(100_000))
        said += 1
        world.until(lambda: world.hosts[0].bridge.state()["queued_bytes"] == 0)
        world.turn()
    os.kill(world.hosts[1].pid, signal.SIGCONT)
    world.until(lambda: world.hosts[1].connections == 2)
    world.settle()
    for hearer in hearers:
        numbers = [int(payload.split(b" ")[0]) for _, _, payload in live(hearer)]
        assert numbers == list(range(said))
    assert not any(member.told for member in world.members)


def test_a_broker_that_is_full_is_waited_for(redis_server, worlds):
    """With the policy noeviction, which the page asks for, nothing is lost."""
    world = worlds(settings(redis_server, max_queued_bytes=65_536, claim_timeout_seconds=0.3))
    more_members(world, 2)
    hearer = subscribed(world, "t")[0]
    redis_server.ask("CONFIG", "SET", "maxmemory", "1mb")
    one, answers = world.members[0], []
    assert one.bus.publish("t", b"0", done=answers.append)
    world.until(lambda: any("OOM" in each for each in causes(world.hosts[0])))
    one.bus.claim("k", answers.append)
    world.until(lambda: answers)
    assert answers == [False]
    redis_server.ask("CONFIG", "SET", "maxmemory", "0")
    world.until(lambda: len(answers) == 2)
    world.settle()
    assert answers == [False, True]
    assert [payload for _, _, payload in live(hearer)] == [b"0"]


def test_a_broker_that_forgets_the_scripts_is_told_them_again(redis_server, worlds):
    world = worlds(settings(redis_server))
    more_members(world, 2)
    hearer = subscribed(world, "t")[0]
    answers = []
    redis_server.ask("SCRIPT", "FLUSH")
    world.members[0].bus.publish("t", b"x", done=answers.append)
    world.until(lambda: answers)
    world.settle()
    assert answers == [True]
    assert [payload for _, _, payload in live(hearer)] == [b"x"]
    assert not any(member.told for member in world.members)
