"""A client has as many connections as it may, never more, over all workers and whatever happens."""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from host.cli.screen import refused
from host.control import client as control
from host.ipc.client_counts import TABLE, ClientCounts
from host.testing import RunningHost
from host.testing.machine import patience
from support.asking import fresh_name
from support.client_counts import counted
from support.hosting import SUPPORT, Start, eventually
from support.targets import parse

pytestmark = [pytest.mark.process, pytest.mark.warm]

FORKING = str(SUPPORT / "forking.py")
PROXIED = """
plugins = ["{plugin}"]
[limits]
{limits}
[[listen]]
address = "tcp://127.0.0.1:0"
proxy = "any"
proxy_from = ["127.0.0.1"]
"""


class Crowd:
    """Clients that stay connected."""

    def __init__(self) -> None:
        self.socks: list[socket.socket] = []

    def come(self, address: str, count: int, source: str = "127.0.0.1", says: bytes = b"") -> int:
        """Connect so many at once; return how many of them are served."""
        _, (_, port) = parse(address)
        socks = []
        for _ in range(count):
            sock = socket.socket()
            sock.bind((source, 0))
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", port))
            socks.append(sock)
        served = [sock for sock in socks if is_served(sock, says)]
        for sock in set(socks) - set(served):
            sock.close()
        self.socks += served
        return len(served)

    def lost(self) -> int:
        """Close those that the host has closed; return how many they were."""
        gone = [sock for sock in self.socks if not is_served(sock, b"")]
        self.leave(gone)
        return len(gone)

    def leave(self, socks: list[socket.socket]) -> None:
        for sock in socks:
            sock.close()
            self.socks.remove(sock)


def is_served(sock: socket.socket, says: bytes) -> bool:
    sock.settimeout(patience(20))
    with suppress(ConnectionError):
        sock.sendall(says + b"x")
        return sock.recv(1) == b"x"
    return False


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    made = Crowd()
    yield made
    for sock in made.socks:
        sock.close()


def refusals(host: RunningHost) -> dict[str, int]:
    [starting] = host.events("host_starting")
    status = control.ask(starting["name"], "status", {}, patience(20))
    [listener] = status["listeners"]
    assert refused(listener) == listener["refused"] + sum(listener["refusals"].values())
    found: dict[str, int] = listener["refusals"]
    return {cause: count for cause, count in found.items() if count}


def limited(start: Start, limit: int, workers: int, **settings: object) -> RunningHost:
    given = {"limits.max_per_client": limit, **settings}
    return start("--name", fresh_name(), plugin="echo", workers=workers, settings=given)


def test_of_500_at_once_exactly_as_many_come_in_as_may(start: Start, crowd: Crowd) -> None:
    host = limited(start, 10, workers=8)
    for _ in range(3):
        assert crowd.come(host.address, 500) == 10
        assert counted(host.pid) == 10
        crowd.leave(list(crowd.socks))
        eventually(lambda: counted(host.pid) == 0, "all have left")
    assert refusals(host) == {"per_client": 3 * 490}


def test_other_clients_are_not_concerned(start: Start, crowd: Crowd) -> None:
    host = limited(start, 3, workers=2)
    for number in range(1, 6):
        assert crowd.come(host.address, 5, f"127.0.0.{number}") == 3
    assert counted(host.pid) == 15


def test_a_place_can_be_taken_as_soon_as_one_has_left(start: Start, crowd: Crowd) -> None:
    host = limited(start, 2, workers=2)
    for _ in range(50):
        assert crowd.come(host.address, 2) == 2
        for sock in list(crowd.socks):  # the host ends after the client: its end is waited for
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
            crowd.leave([sock])


def test_the_places_of_workers_that_die_are_free_again(start: Start, crowd: Crowd) -> None:
    host = limited(start, 40, workers=4, **{"lifecycle.respawn_backoff_max_seconds": 0.1})
    chance = random.Random(3)
    for _ in range(12):
        mark = host.mark()
        crowd.come(host.address, 60)
        assert len(crowd.socks) == 40
        slot = chance.randrange(4)
        os.kill(host.workers[slot], signal.SIGKILL)
        host.wait_for("worker_ready", slot=slot, since=mark)
        crowd.lost()
        eventually(
            lambda: counted(host.pid) == len(crowd.socks), "the sum is that of the open ones"
        )
    crowd.come(host.address, 60)
    assert len(crowd.socks) == 40


def test_connections_of_older_generations_count(start: Start, crowd: Crowd) -> None:
    host = limited(start, 10, workers=2)
    assert crowd.come(host.address, 6) == 6
    for generation in range(1, 4):
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready", generation=generation)
        come = crowd.come(host.address, 30)
        assert len(crowd.socks) == counted(host.pid) == 10
        assert come == (4 if generation == 1 else 2)
        crowd.leave(crowd.socks[:2])
        eventually(lambda: counted(host.pid) == 8, "two have left")


@pytest.mark.parametrize("before", ["", "max_per_client = 3"])
@pytest.mark.parametrize("after", ["", "max_per_client = 5"])
def test_a_reload_switches_the_limit(
    start: Start, crowd: Crowd, tmp_path: Path, before: str, after: str
) -> None:
    config = tmp_path / "host.toml"
    text = 'plugins = ["echo"]\nlisten = ["tcp://127.0.0.1:0"]\n[limits]\n'
    config.write_text(text + before)
    host = start("--config", str(config), "--name", fresh_name(), plugin=None, listen=())
    assert crowd.come(host.address, 8) == (3 if before else 8)
    crowd.leave(list(crowd.socks))
    config.write_text(text + after)
    for generation in (1, 2):
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready", generation=generation)
    assert crowd.come(host.address, 8) == (5 if after else 8)


@pytest.mark.parametrize(
    ("limits", "one", "other", "served"),
    [
        ("max_per_client = 2", "2001:db8::1", "2001:db8::ffff", 2),
        ("max_per_client = 2", "2001:db8::1", "2001:db8:0:1::1", 4),
        ("max_per_client = 2\nclient_prefix_v6 = 56", "2001:db8::1", "2001:db8:0:1::1", 2),
    ],
)
def test_an_ipv6_network_is_one_client(
    start: Start, crowd: Crowd, tmp_path: Path, limits: str, one: str, other: str, served: int
) -> None:
    config = tmp_path / "host.toml"
    config.write_text(PROXIED.format(plugin="echo", limits=limits))
    host = start("--config", str(config), "--name", fresh_name(), plugin=None, listen=())
    for client in (one, other):
        header = f"PROXY TCP6 {client} ::1 1 2\r\n".encode()
        crowd.come(host.address, 5, says=header)
    assert len(crowd.socks) == served


def test_a_rate_holds_over_all_workers(start: Start, crowd: Crowd) -> None:
    rate = {"limits.rate_per_client": "20/h", "limits.burst_per_client": 20}
    host = start("--name", fresh_name(), plugin="echo", workers=4, settings=rate)
    assert crowd.come(host.address, 100) == 20
    assert crowd.come(host.address, 100, "127.0.0.2") == 20
    assert refusals(host) == {"rate": 160}


def test_a_process_that_a_plugin_forks_gives_nothing_back(start: Start) -> None:
    host = start(plugin=FORKING, workers=1, settings={"limits.max_per_client": 3})
    with ExitStack() as stack:
        clients = [stack.enter_context(host.connect()) for _ in range(3)]
        eventually(lambda: counted(host.pid) == 3, "all are let in")
        for client in clients:
            client.sendall(b"0\n")
            child = int(client.recv(100))
            assert counted(host.pid) == 3
            os.kill(child, signal.SIGKILL)
            client.sendall(b"%d\n" % child)
            assert int(client.recv(100)) == -signal.SIGKILL
            assert counted(host.pid) == 3


def test_workers_that_race_for_the_last_places_get_all_of_them_and_no_more() -> None:
    shared, place, limit = ClientCounts(), (5, TABLE + 9), 10
    numbers = [shared.take_row() for _ in range(4)]
    try:
        for _ in range(40):
            go, ready = os.pipe()
            children = [_racer(shared, number, go, ready, place, limit) for number in numbers]
            os.close(ready)
            os.close(go)
            come_in = sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children)
            assert come_in == shared.total() == limit
            for number in numbers:
                shared.give_back(number)
            numbers = [shared.take_row() for _ in range(4)]
    finally:
        shared.close()


def _racer(
    shared: ClientCounts, number: int, go: int, ready: int, place: tuple[int, int], limit: int
) -> int:
    """Fork a process that adds five connections as soon as all are there, and tells how many."""
    pid = os.fork()
    if pid:
        return pid
    come_in = 99
    with suppress(BaseException), ExitStack() as stack:
        stack.callback(os.close, go)
        os.close(ready)
        row = shared.row(number)
        os.read(go, 1)  # until all ends for writing are closed
        come_in = sum(row.add(place, limit) for _ in range(5))
    os._exit(come_in)


def test_a_reload_without_address_space_for_the_counts_is_refused(
    start: Start, tmp_path: Path
) -> None:
    config = tmp_path / "host.toml"
    config.write_text('plugins = ["echo"]\nlisten = ["tcp://127.0.0.1:0"]\n')
    host = start("--config", str(config), "--name", fresh_name(), plugin=None, listen=())
    limits = resource.prlimit(host.pid, resource.RLIMIT_AS)
    resource.prlimit(host.pid, resource.RLIMIT_AS, (1_400 << 20, limits[1]))
    config.write_text(config.read_text() + "[limits]\nmax_per_client = 3\n")
    host.signal(signal.SIGHUP)
    refused = host.wait_for("reload_failed")
    assert "1536 MiB of address space" in refused["reason"]
    with host.connect() as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
