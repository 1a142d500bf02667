"""The same bytes to a real redis-server and to the example: the replies are the same bytes."""

import socket
from random import Random

import pytest
from servers import REDIS, ask, redis_server
from streams import as_array, stream

from host.testing import RunningHost
from host.testing.machine import patience

pytestmark = pytest.mark.skipif(REDIS is None, reason="there is no redis-server (redis-tools)")

LONG = 20
"""How many seconds a reply or an end may take on an idle machine."""
LISTENS = b"SUBSCRIBE news\r\n"


@pytest.fixture(scope="module")
def redis():
    with redis_server(patience(LONG)) as port:
        yield port


@pytest.fixture(scope="module")
def example():
    flags = ["--log-format", "json", "--plugin", "resp", "--workers", "1"]
    with RunningHost([*flags, "--listen", "tcp://127.0.0.1:0"]) as host:
        host.wait_for("host_ready")
        yield host.port
        assert host.stop() == 0
        assert not host.events("hook_failed")


@pytest.fixture
def same(redis, example):
    """Send the same to both servers; the replies must be the same."""

    def same(*pieces, version=2):
        wanted = ask(redis, pieces, version=version, seconds=patience(LONG))
        assert ask(example, pieces, version=version, seconds=patience(LONG)) == wanted
        return wanted

    return same


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("block", range(4))
def test_random_streams(same, version, block):
    for seed in range(50 * block, 50 * block + 50):
        same(*stream(Random(1000 * version + seed)), version=version)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    "data",
    [
        b"*x\r\n",
        b"*01\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$01\r\n",
        b"*1\r\n$99999999999\r\n",
        b"*1\r\n+OK\r\n",
        b"*99999999999\r\n",
        b"*2\r\n$3\r\nGET\r\n:1\r\n",
        b'SET a "b\r\n',
        b"SET a 'b'c\r\n",
    ],
)
def test_what_is_no_request(same, data, version):
    said = same(b"PING\r\n" + as_array([b"SET", b"a", b"1"]) + data, version=version)
    assert said.count(b"-ERR Protocol error: ") == 1
    assert said.startswith(b"+PONG\r\n+OK\r\n-ERR")


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\n*0\r\n*-1\r\n  \r\nPING\n",
        b'set "a b" "\\x00\\xff\\r\\n"\r\nGET "a b"\r\nget \'a b\'\r\n',
        b"echo *1\r\n$4\r\nPING\r\n",
        b"DEL n\r\nSET n 1\r\n" + 1000 * as_array([b"INCR", b"n"]),
        b"DEL l\r\n" + 300 * as_array([b"RPUSH", b"l", b"x" * 100]) + 300 * b"LRANGE l 0 -1\r\n",
        as_array([b"SET", b"big", b"x" * 900_000]) + 40 * as_array([b"GET", b"big"]),
        as_array([b"RPUSH", b"many", *(b"%d" % each for each in range(5000))]),
        LISTENS
        + b"GET a\r\nfoo\r\nget\r\nCLIENT GETNAME\r\nclient no\r\nPING\r\nPING x\r\nRESET\r\n",
        LISTENS + b"HELLO 3\r\nUNSUBSCRIBE\r\nGET nothing\r\nUNSUBSCRIBE\r\nPUNSUBSCRIBE a b\r\n",
    ],
)
@pytest.mark.parametrize("version", [2, 3])
def test_nasty_streams(same, data, version):
    same(b"FLUSHALL\r\n" + data, b"QUIT\r\n", version=version)
    if len(data) < 20_000:
        same(*(data[at : at + 7] for at in range(0, len(data), 7)), b"QUIT\r\n", version=version)


def test_nothing_is_answered_after_quit(same):
    assert same(b"PING\r\nQUIT now\r\nPING\r\n") == b"+PONG\r\n+OK\r\n"


@pytest.mark.parametrize("version", [2, 3])
def test_messages_to_another_client(redis, example, version):
    def talk(port):
        hello = b"HELLO 3\r\nCLIENT GETNAME\r\n" if version == 3 else b"CLIENT GETNAME\r\n"
        start = b"_\r\n" if version == 3 else b"$-1\r\n"
        with socket.create_connection(("127.0.0.1", port), patience(LONG)) as listener:
            said = b""
            listener.sendall(hello + b"SUBSCRIBE n ne\r\nPSUBSCRIBE n*\r\n")
            with listener.makefile("rb") as replies:
                while not said.endswith(b"$2\r\nn*\r\n:3\r\n"):
                    said += replies.readline()
                publish = as_array([b"PUBLISH", b"ne", b"\r\n\x00"])
                sent = ask(port, [publish, b"PUBLISH none x\r\nPUBLISH new y\r\nQUIT\r\n"])
                listener.sendall(b"UNSUBSCRIBE ne n\r\nPUNSUBSCRIBE n*\r\nQUIT\r\n")
                return said.partition(start)[2] + replies.read(), sent

    assert talk(redis) == talk(example)


def test_who_has_finished_sending_is_answered(redis, example):
    def finish(port):
        with socket.create_connection(("127.0.0.1", port), patience(LONG)) as client:
            client.sendall(b"FLUSHALL\r\nRPUSH l a b\r\n" + 2000 * b"LRANGE l 0 -1\r\n")
            client.shutdown(socket.SHUT_WR)
            with client.makefile("rb") as replies:
                return replies.read()

    assert finish(redis) == finish(example)
