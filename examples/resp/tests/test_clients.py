"""The clients that people use, as they come."""

import shutil
import subprocess
import threading

import pytest
import redis

from host.testing.machine import patience

PATIENCE_SECONDS = 60
MESSAGES = 500

needs_tools = pytest.mark.skipif(
    shutil.which("redis-cli") is None, reason="redis-cli is not installed (Debian: redis-tools)"
)


@pytest.fixture
def store(host_server):
    return host_server("resp")


@pytest.fixture
def broker(host_server):
    return host_server(
        "resp",
        workers=2,
        options={"resp": {"keys": False}},
        settings={"dispatch.missed_claim_ms": 20_000},  # however late a worker is
    )


@pytest.fixture
def connect(request):
    """Return clients of redis-py, which are closed at the end."""
    with_ends = []

    def connect(host, **options):
        client = redis.Redis(port=host.port, socket_timeout=patience(20), **options)
        with_ends.append(client)
        return client

    yield connect
    for client in with_ends:
        client.close()


def run(*command, given=b""):
    done = subprocess.run(
        [str(word) for word in command],
        input=given,
        capture_output=True,
        timeout=patience(PATIENCE_SECONDS),
        check=False,
    )
    assert done.returncode == 0, done
    return done.stdout


@pytest.mark.parametrize("options", [{}, {"protocol": 2}, {"protocol": 3}, {"client_name": "me"}])
def test_redis_py(store, connect, options):
    client = connect(store, **options)
    value = bytes(range(256)) * 1000
    assert client.ping()
    assert client.set("a", value, ex=100)
    assert client.get("a") == value
    assert client.set("a", "b", nx=True) is None
    assert client.set("a", "b", xx=True, keepttl=True, get=True) == value
    assert 90 < client.ttl("a") <= 100
    assert client.incrby("n", 41) == 41
    assert client.incr("n") == 42
    assert client.get("n") == b"42"
    assert client.rpush("l", "a", "b", b"\r\n") == 3
    assert client.lrange("l", 0, -1) == [b"a", b"b", b"\r\n"]
    assert client.type("l") == b"list"
    assert client.exists("a", "n", "nothing") == 2
    assert client.delete("a", "nothing") == 1
    assert client.get("a") is None
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        client.get("l")
    assert client.dbsize() == 2
    assert client.config_get("save") == {"save": ""}
    assert client.info()["db0"]["keys"] == 2
    assert client.command_count() == len(client.command())
    assert client.client_getname() == options.get("client_name")
    with client.pipeline(transaction=False) as pipe:
        for number in range(1000):
            pipe.set(f"key-{number}", number).get(f"key-{number}")
        assert pipe.execute() == [each for number in range(1000) for each in (True, b"%d" % number)]
    assert client.flushall()
    assert client.dbsize() == 0


@pytest.mark.parametrize("protocol", [2, 3])
def test_messages_between_redis_py_clients_of_two_workers(broker, connect, protocol):
    """Round-robin gives clients that connect one after the other to workers in turn."""
    listeners = []
    for number in range(4):
        listener = connect(broker, protocol=protocol).pubsub(ignore_subscribe_messages=True)
        listener.subscribe("news") if number < 2 else listener.psubscribe("n?ws")
        listeners.append(listener)
    senders = [connect(broker, protocol=protocol) for _ in range(2)]
    for listener in listeners:  # the replies: from now on it hears all
        assert listener.get_message(timeout=patience(20)) is None
    sent = [b"%d \r\n\xff" % number for number in range(MESSAGES)]
    for message in sent:
        assert senders[0].publish("news", message) == 2  # the clients of the same worker
    senders[1].publish("news", b"end")
    for listener in listeners:
        heard = []
        while len(heard) <= MESSAGES:
            message = listener.get_message(timeout=patience(20))
            assert message is not None
            heard.append(message["data"])
        heard.remove(b"end")
        assert heard == sent
        listener.close()


@needs_tools
def test_redis_cli(store):
    def cli(*words, **given):
        return run("redis-cli", "-p", store.port, *words, **given)

    assert cli("SET", "greeting", "hello world") == b"OK\n"
    assert cli("-3", "GET", "greeting") == b"hello world\n"
    assert cli("LPUSH", "l", "a", "b") == b"2\n"
    session = cli(given=b"INCR n\nlrange l 0 -1\nGET l\nhello 3\nGET nothing\nquit\n")
    assert session.startswith(b"1\nb\na\nWRONGTYPE")
    many = b"".join(b"SET key-%d %d\r\n" % (number, number) for number in range(3000))
    assert b"errors: 0, replies: 3000" in cli("--pipe", given=many)
    assert cli("DBSIZE") == b"3003\n"
    assert b"keys=3003" in cli("INFO", "keyspace")


@needs_tools
def test_messages_from_redis_cli_to_redis_cli(broker, connect):
    command = ["redis-cli", "-p", str(broker.port), "SUBSCRIBE", "news"]
    listeners = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        for _ in range(3)
    ]
    timer = threading.Timer(patience(60), lambda: [each.kill() for each in listeners])
    timer.start()
    try:
        for listener in listeners:
            assert [listener.stdout.readline() for _ in range(3)] == [
                "subscribe\n",
                "news\n",
                "1\n",
            ]
        run("redis-cli", "-p", broker.port, "PUBLISH", "news", "good day")
        for listener in listeners:
            said = [listener.stdout.readline() for _ in range(3)]
            assert said == ["message\n", "news\n", "good day\n"]
    finally:
        timer.cancel()
        for listener in listeners:
            listener.kill()
            listener.communicate()


@needs_tools
@pytest.mark.parametrize("pipeline", [1, 16])
def test_redis_benchmark(store, pipeline):
    flags = ["-t", "ping,set,get,incr,lpush,lrange_100", "-n", "2000", "-P", str(pipeline)]
    said = run("redis-benchmark", "-p", store.port, *flags, "--csv").decode()
    assert said.count("\n") >= 7
    assert "rror" not in said
