"""The line protocol, spoken to by programs that people use."""

import re
import select
import shutil
import socket
import subprocess

import pytest
import redis

from host.testing import RunningHost
from host.testing.machine import patience
from prefork_pytest import hosts_of
from support.asking import fresh_name

pytestmark = pytest.mark.process

PATIENCE_SECONDS = 60


def program(name, package):
    """Return a marker that skips a test if a program is missing."""
    reason = f"{name} is not installed (Debian: {package})"
    return pytest.mark.skipif(shutil.which(name) is None, reason=reason)


needs_nc = program("nc", "netcat-openbsd")
needs_telnet = program("telnet", "inetutils-telnet")
needs_redis_cli = program("redis-cli", "redis-tools")
needs_redis_benchmark = program("redis-benchmark", "redis-tools")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A host that no test changes, whatever its clients do."""
    flags = ["--log-format", "json", "--workers", "2", "--name", fresh_name(), "--plugin", "line"]
    with RunningHost(
        [*flags, "--listen", "tcp://127.0.0.1:0"], cwd=tmp_path_factory.mktemp("line")
    ) as host:
        host.wait_for("host_ready")
        yield host
        assert host.stop() == 0


@pytest.fixture
def host(shared, request):
    """That host, whose workers are the ones that it began with; a test that fails shows its log."""
    hosts_of(request.node).append(shared)
    yield shared
    assert not {"worker_died", "worker_exited"} & {each["event"] for each in shared.events()}


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


@needs_nc
def test_nc(host):
    given = b"PING\nECHO hello\r\nhepl\nQUIT\n"
    assert run("nc", "127.0.0.1", host.port, given=given) == (
        b'+PONG\r\n+hello\r\n-ERR unknown command "hepl"; did you mean HELP?\r\n+bye\r\n'
    )


@needs_nc
def test_nc_that_finishes_sending_has_all_its_replies(host):
    lines = b"".join(b"ECHO %d\n" % number for number in range(50_000))
    replies = b"".join(b"+%d\r\n" % number for number in range(50_000))
    assert run("nc", "-N", "127.0.0.1", host.port, given=lines) == replies


@needs_telnet
def test_telnet(host):
    with subprocess.Popen(
        ["telnet", "127.0.0.1", str(host.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as telnet:
        telnet.stdin.write(b"PING\n")
        telnet.stdin.flush()
        said = b""
        while b"+PONG" not in said:
            part = telnet.stdout.read1()
            assert part, said
            said += part
        telnet.stdin.write(b"QUIT\n")
        telnet.stdin.flush()
        assert b"+bye" in telnet.stdout.read()


@needs_redis_cli
@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (["PING"], b"PONG"),
        (["ECHO", "two words"], b"two words"),
        (["ECHO", "a\nb"], b"a\nb"),
        (["PING", "a  b"], b"a  b"),
        (["ECHO"], b"ERR wrong number of arguments for 'echo' command"),
        (["-3", "PING"], b"PONG"),
        (["-3", "ECHO", "two words"], b"two words"),
        (["PIGN"], b'ERR unknown command "PIGN"; did you mean PING?'),
    ],
)
def test_redis_cli(host, words, reply):
    assert run("redis-cli", "-p", host.port, *words).strip() == reply


@needs_redis_cli
def test_a_session_of_redis_cli(host):
    given = b"PING\nWORKER\nQUIT\n"
    said = run("redis-cli", "-p", host.port, given=given).decode()
    assert re.fullmatch(r"PONG\nslot [01] pid \d+\n(bye|OK)?\s*", said), said


@needs_redis_cli
def test_redis_cli_pipes_requests(host):
    requests = b"".join(b"*2\r\n$4\r\nECHO\r\n$5\r\na\r\nb\n\r\n" for _ in range(20_000))
    said = run("redis-cli", "-p", host.port, "--pipe", given=requests)
    assert b"errors: 0, replies: 20000" in said, said


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_as_it_comes(host, protocol):
    words = [b"two words", b"a\r\nb", bytes(range(256)), b"", "größe".encode() * 300]
    with redis.Redis(port=host.port, protocol=protocol) as client:
        assert client.ping()
        assert [client.echo(word) for word in words] == words
        with client.pipeline(transaction=False) as pipeline:
            for word in words * 20:
                pipeline.echo(word)
            assert pipeline.execute() == words * 20


def test_redis_py_without_a_choice_of_its_own(host):
    with redis.Redis(port=host.port) as client:
        assert client.echo(b"a\nb") == b"a\nb"


@needs_redis_benchmark
@pytest.mark.parametrize("test", ["ping_inline", "ping_mbulk"])
@pytest.mark.parametrize("pipeline", [1, 64])
def test_redis_benchmark(host, test, pipeline):
    flags = ("-t", test, "-n", 20_000, "-c", 20, "-P", pipeline, "-q")
    said = run("redis-benchmark", "-p", host.port, *flags).decode()
    assert "requests per second" in said
    assert "ERR" not in said.replace("ERROR: failed to fetch CONFIG", "").replace(
        "WARNING: Could not fetch server CONFIG", ""
    )
    assert not host.events("hook_failed")


def test_a_client_that_pipelines_without_reading_is_held_back_and_loses_nothing(host):
    # More than all buffers of the kernel on the way there and back (tcp(7)) hold together.
    texts = [b"%07d" % number * 600 for number in range(10_000)]
    lines = b"".join(b"ECHO %b\n" % text for text in texts)
    with host.connect() as client:
        client.settimeout(1)
        sent = send_until_full(client, lines)
        assert sent < len(lines)
        with host.connect() as other:  # the worker has time for others
            other.sendall(b"PING\n")
            assert other.recv(100) == b"+PONG\r\n"
        received = send_and_receive(client, lines, sent)
    assert received == b"".join(b"+%b\r\n" % text for text in texts)


def send_until_full(client, data):
    """Send until nobody has taken anything for a while; return how much was sent."""
    view, sent = memoryview(data), 0
    try:
        while sent < len(data):
            sent += client.send(view[sent : sent + 65_536])
    except TimeoutError:
        pass
    return sent


def send_and_receive(client, data, sent):
    """Send the rest, then finish; return all that comes until the other end has finished, too."""
    view, received = memoryview(data), bytearray()
    client.setblocking(False)
    while True:
        wanted = [client] if sent < len(data) else []
        readable, writable, _ = select.select([client], wanted, [], patience(PATIENCE_SECONDS))
        assert readable or writable, f"{len(received)} bytes came, and then nothing"
        if readable:
            part = client.recv(1 << 20)
            if not part:
                return received
            received += part
        if writable:
            sent += client.send(view[sent : sent + 65_536])
            if sent == len(data):
                client.shutdown(socket.SHUT_WR)


def test_bad_bytes_end_at_most_their_own_connection(host):
    for junk in (b"*1\r\n$4\r\nPINGxx", b"*99999\r\n", b"\x00" * 100_000, b"\xff\xfe\r\n" * 1000):
        with host.connect() as client:
            client.sendall(junk)
            client.shutdown(socket.SHUT_WR)
            while client.recv(1 << 20):
                pass
    with host.connect() as client:
        client.sendall(b"PING\r\n")
        assert client.recv(100) == b"+PONG\r\n"
    assert not host.events("hook_failed")
