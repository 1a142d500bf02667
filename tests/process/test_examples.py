"""The distributions in `examples/`: installed beside the host, listed, run by name, talked to."""

import json
import subprocess

import pytest

from host.testing.machine import patience
from support.venvs import ROOT, Environment, environment

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

CLIENT = """
import sys
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheServerError

client = Client(("127.0.0.1", int(sys.argv[1])), timeout=float(sys.argv[2]), no_delay=True)
assert client.set("a", b"1", noreply=False)
assert client.get("a") == b"1"
assert client.add("a", b"2", noreply=False) is False
assert client.replace("nix", b"2", noreply=False) is False
assert client.incr("a", 41) == 42 and client.decr("a", 2) == 40
value, version = client.gets("a")
assert client.cas("a", b"new", version) is True
assert client.cas("a", b"newer", version) is False
assert client.cas("nix", b"newer", version) is None
assert client.touch("a", 100, noreply=False) is True
assert client.delete("a", noreply=False) is True and client.get("a") is None
assert client.set("gone", b"x", expire=-1, noreply=False) and client.get("gone") is None

many = {f"key-{number}": bytes([number % 256]) * number for number in range(1000)}
assert client.set_many(many) == []
assert client.get_many(list(many)) == many

big = bytes(range(256)) * 4095
assert client.set("big", big, noreply=False) and client.get("big") == big
try:
    client.set("bigger", bytes(1_048_576), noreply=False)
except MemcacheServerError as error:
    assert "too large" in str(error)
else:
    raise AssertionError("too large a value was taken")

assert client.stats()[b"curr_items"] == 1001
assert client.version() == b"1.6.18"
assert client.flush_all(noreply=False) and client.get_many(list(many)) == {}
client.quit()
print("spoken to")
"""

REDIS_CLIENT = """
import sys
import redis

client = redis.Redis(port=int(sys.argv[1]), socket_timeout=float(sys.argv[2]))
try:
    client.set("a", "one")
    print(client.get("a").decode())
except redis.ResponseError as error:
    print(str(error).partition(",")[0])
with client.pubsub() as listener:
    listener.subscribe("news")
    assert listener.get_message(timeout=float(sys.argv[2]))["type"] == "subscribe"
    client.publish("news", "x")
    assert listener.get_message(timeout=float(sys.argv[2]))["data"] == b"x"
    print("1 heard it")
client.close()
"""


EXAMPLES = ("keyvalue", "fill_first", "mqtt", "resp", "thumbnails")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment with the host and all examples, and with clients of memcached and Redis."""
    made = Environment(tmp_path_factory.mktemp("examples"))
    folders = [made.folder / "prefork", *(made.copy(ROOT / "examples" / name) for name in EXAMPLES)]
    clients = [
        "pymemcache>=4",
        "redis>=5",
        "paho-mqtt>=2",
        "aiomqtt>=2",
        "gmqtt>=0.7",
        "hiredis>=3",
    ]
    made.install(*folders, *clients, "pytest", "hypothesis")  # each call of pip takes seconds
    return made


def test_the_doctor_finds_nothing(installed):
    done = installed.run("-m", "host", "plugins", "doctor", "--strict")
    assert "keyvalue (prefork-keyvalue 0.1.0, " in done.stdout
    assert done.stdout.endswith(" plugins, none with findings\n")


def test_they_are_listed(installed):
    entries = json.loads(installed.run("-m", "host", "plugins", "--json").stdout)
    found = {entry["name"]: entry for entry in entries}
    assert found["keyvalue"]["distribution"] == "prefork-keyvalue"
    assert set(found["keyvalue"]["implements"]) == {
        *("on_host_start", "on_worker_start"),
        *("on_accept", "on_readable", "on_drain", "on_close"),
    }
    assert found["fill_first"]["distribution"] == "prefork-fill-first"
    assert found["fill_first"]["implements"] == ["on_host_start", "choose_worker"]
    assert found["resp"]["distribution"] == "prefork-resp"
    assert "on_readable" in found["resp"]["implements"]
    assert found["mqtt"]["distribution"] == "prefork-mqtt"
    assert found["thumbnails"]["distribution"] == "prefork-thumbnails"


@pytest.mark.parametrize("name", EXAMPLES)
def test_their_own_tests_pass(installed, name):
    done = installed.run("-m", "pytest", "-q", cwd=installed.folder / name)
    assert " passed" in done.stdout


@pytest.fixture
def serve(installed):
    """Run hosts in that environment; return the port, once it is ready."""
    running = []

    def serve(*flags):
        process = subprocess.Popen(
            [installed.python, "-m", "host", "--log-format", "json", *flags],
            cwd=installed.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append(process)
        said, port = [], None
        for line in process.stdout:
            said.append(line)
            event = json.loads(line)
            if event["event"] == "listening":
                port = int(event["address"].rpartition(":")[2])
            if event["event"] == "host_ready":
                return port
        raise AssertionError("".join(said))

    yield serve
    for process in running:
        process.terminate()
        rest, _ = process.communicate(timeout=patience(60))
        assert process.returncode == 0, rest
        assert "hook_failed" not in rest, rest


def test_pymemcache_speaks_to_the_store(installed, serve):
    settings = installed.folder / "keyvalue" / "keyvalue.toml"
    port = serve("--config", str(settings), "--listen", "tcp://127.0.0.1:0=keyvalue")
    assert installed.run("-c", CLIENT, str(port), str(patience(20))).stdout == "spoken to\n"


@pytest.mark.parametrize(("name", "keys"), [("store.toml", True), ("broker.toml", False)])
def test_redis_py_speaks_to_both_forms_of_resp(installed, serve, name, keys):
    settings = installed.folder / "resp" / name
    port = serve("--config", str(settings), "--listen", "tcp://127.0.0.1:0=resp")
    said = installed.run("-c", REDIS_CLIENT, str(port), str(patience(20))).stdout
    assert said == ("one\n" if keys else "unknown command 'SET'\n") + "1 heard it\n"


def test_the_store_refuses_several_workers(installed):
    settings = installed.folder / "keyvalue" / "keyvalue.toml"
    flags = ("--config", settings, "--workers", "2", "--listen", "tcp://127.0.0.1:0=keyvalue")
    done = installed.run("-m", "host", *flags, code=4)
    assert "Start the host with --workers 1" in done.stderr


def test_the_scheduler_runs_by_its_name(installed, serve):
    port = serve(
        *("--plugin", "line", "--plugin", "fill_first", "--workers", "2"),
        *("--set", "options.fill_first.connections=3", "--listen", "tcp://127.0.0.1:0"),
        *("--set", "dispatch.missed_claim_ms=20000"),  # however late a worker is
    )
    client = (
        "import socket, sys\n"
        "address = ('127.0.0.1', int(sys.argv[1]))\n"
        "open_ones = []\n"
        "for _ in range(6):\n"
        "    open_ones.append(socket.create_connection(address, float(sys.argv[2])))\n"
        "    open_ones[-1].sendall(b'WORKER\\n')\n"
        "    print(open_ones[-1].recv(100).split()[1].decode())\n"
    )
    said = installed.run("-c", client, str(port), str(patience(20))).stdout
    assert said.split() == ["0"] * 3 + ["1"] * 3
