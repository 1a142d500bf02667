"""What one client does to its connection affects nobody else; limits hold exactly."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from host.testing.machine import Stopwatch, patience
from support.address import connect
from support.hosting import BULK, Host, Load, Start, eventually
from support.processes import cpu_seconds, resident_bytes
from support.session import ask

pytestmark = [pytest.mark.process, pytest.mark.warm]

FAMILIES = pytest.mark.parametrize("family", ["tcp4", "tcp6", "unix"])
MIB = 1 << 20


@FAMILIES
def test_what_was_sent_before_a_half_close_comes_back_whole(
    start: Start, load: Load, family: str
) -> None:
    host = start(plugin="echo", listen=(family,), workers=2)
    result = load.half_close(host.address, rounds=100, size=MIB)
    assert result == {"whole": 100, "failures": {}}
    eventually(lambda: host.board.active == [0, 0], "all connections have ended")


@pytest.mark.timing
@FAMILIES
def test_a_half_closed_connection_gets_the_rest_and_does_not_make_the_worker_spin(
    start: Start, family: str
) -> None:
    size = 8_000_000  # more than the kernel takes: the worker has to keep it
    host = start(plugin=BULK, listen=(family,), workers=1)
    (worker,) = host.workers.values()
    with connect(host.address) as client, connect(host.address) as other:
        client.sendall(b"%d\n" % size)
        client.shutdown(socket.SHUT_WR)
        received = len(client.recv(65_536))
        before = cpu_seconds(worker)
        other.settimeout(0.5)
        with pytest.raises(TimeoutError):
            other.recv(1)  # half a second in which nothing is to be done
        assert cpu_seconds(worker) - before <= 0.1
        while data := client.recv(65_536):
            received += len(data)
    assert received == size


@contextmanager
def unharmed(host: Host, load: Load) -> Iterator[None]:
    """Have long-lived clients and newcomers be served meanwhile and afterwards."""
    assert load.burst(host.address, 20, group="unharmed")["failures"] == {}
    yield
    assert load.exchange(group="unharmed")["failures"] == {}
    assert load.burst(host.address, 20, group="newcomers")["failures"] == {}
    assert host.events("worker_died") == []


@FAMILIES
def test_clients_that_reset_harm_nobody(start: Start, load: Load, family: str) -> None:
    host = start(listen=(family,), workers=2)
    with unharmed(host, load):
        for turn in range(10):
            # Some are reset in the backlog, some once accepted, some with an answer under way.
            load.open(host.address, 50, group="reset")
            if turn % 3:
                load.exchange(group="reset")
            load.close(group="reset", reset=True)
    eventually(lambda: sum(host.board.active) == 40, "all connections that were reset have ended")


def test_clients_that_send_nothing_harm_nobody(start: Start, load: Load) -> None:
    host = start(workers=2)
    with unharmed(host, load):
        load.open(host.address, 500, group="silent")
        eventually(lambda: sum(host.board.active) == 520, "all have been accepted")
        assert load.exchange(group="unharmed")["failures"] == {}


@pytest.mark.timing
@pytest.mark.parametrize("family", ["tcp4", "unix"])
def test_a_peer_that_never_reads_is_held_back_and_then_closed(
    start: Start, load: Load, family: str
) -> None:
    timeout = 1.0
    settings = {"connection.write_timeout_seconds": timeout}
    host = start(
        "--set", "log.access=true", plugin="echo", listen=(family,), workers=1, settings=settings
    )
    (worker,) = host.workers.values()
    before = resident_bytes(worker)
    load.begin("flood", address=host.address, size=64 * MIB, patience=10.0)
    stuck = load.answer()
    assert stuck["under_way"]
    assert stuck["sent"] < 32 * MIB, "nobody holds it back"
    held = resident_bytes(worker) - before
    print(f"{stuck['sent'] / MIB:.1f} MiB were taken, {held / MIB:.1f} MiB are held in memory")
    # The high-water mark is 256 KiB, and one read adds 64 KiB; the rest is the allocator's.
    assert held <= 4 * MIB
    with connect(host.address) as other:  # one worker: it serves both
        watch = Stopwatch()
        other.sendall(b"hello")
        assert other.recv(100) == b"hello"
        assert watch.seconds <= watch.scaled(0.2)
    ended = load.answer()
    assert ended["ended"] in ("ECONNRESET", "EPIPE")
    # The host counts from its last byte, which is after the connect, and before the client's own
    # buffers are full; it sweeps with a delay of a twentieth at most.
    assert timeout <= ended["open_seconds"]
    assert ended["stuck_seconds"] <= timeout * 1.05 + watch.scaled(0.5)
    host.wait_for("connection_closed", reason="peer does not take what is sent")


@pytest.mark.timing
def test_a_slow_reader_gets_everything_and_delays_nobody(start: Start, load: Load) -> None:
    host = start(plugin="echo", workers=1)
    size = 4 * MIB
    with connect(host.address) as slow, connect(host.address) as other:
        slow.setblocking(False)
        sent = received = 0
        longest, watch = 0.0, Stopwatch()
        while received < size:
            if sent < size:
                with suppress(BlockingIOError):
                    sent += slow.send(bytes(min(65_536, size - sent)))
            began = time.monotonic()
            other.sendall(b"hello")
            assert other.recv(100) == b"hello"
            longest = max(longest, time.monotonic() - began)
            with suppress(BlockingIOError):
                received += len(slow.recv(20_000))
        assert received == size
        print(f"longest wait of the other one: {longest * 1000:.1f} ms")
        assert longest <= watch.scaled(0.2)


def test_above_the_hard_cap_a_connection_is_closed(start: Start) -> None:
    settings = {
        "connection.high_water_bytes": 100_000,
        "connection.low_water_bytes": 50_000,
        "connection.max_unsent_bytes": 1_000_000,
    }
    host = start("--set", "log.access=true", plugin=BULK, workers=1, settings=settings)
    with connect(host.address) as client:
        client.sendall(b"100000000\n")
        closed = host.wait_for("connection_closed")
        assert closed["reason"] == "too much unsent"
        received = 0
        with suppress(ConnectionResetError):
            while data := client.recv(65_536):
                received += len(data)
        assert received < 100_000_000


def test_slow_readers_take_no_more_memory_than_a_worker_may_have_unsent(start: Start) -> None:
    """Twenty peers of whom none reads want 8 MB each, and all of them together may have 20."""
    settings = {
        "limits.max_unsent_bytes_per_worker": 20_000_000,
        "connection.max_unsent_bytes": 100_000_000,
    }
    host = start("--set", "log.access=true", plugin=BULK, workers=1, settings=settings)
    before = resident_bytes(host.workers[0])
    with ExitStack() as closing:
        clients = [closing.enter_context(connect(host.address)) for _ in range(20)]
        for client in clients:
            client.sendall(b"8000000\n")
        closed = host.wait_for("connection_closed", count=15)
        assert closed["reason"] == "too much unsent in this worker"
        with connect(host.address) as other:
            other.sendall(b"100000\n")
            left = 100_000
            while left:
                left -= len(other.recv(left))
        assert resident_bytes(host.workers[0]) - before < 60_000_000


@pytest.mark.timing
def test_idle_connections_are_closed_and_others_are_not(start: Start) -> None:
    timeout = 0.5
    settings = {"limits.idle_timeout_seconds": timeout}
    host = start("--set", "log.access=true", workers=1, settings=settings)
    with connect(host.address) as idle, connect(host.address) as busy:
        ask(busy)
        ask(idle)
        watch = Stopwatch()
        idle.setblocking(False)
        while True:
            ask(busy)
            try:
                assert idle.recv(1) == b""
                break
            except BlockingIOError:
                assert watch.seconds <= watch.scaled(5.0)
        assert timeout - 0.01 <= watch.seconds <= timeout * 1.05 + watch.scaled(0.3)
        ask(busy)
        closed = host.wait_for("connection_closed")
        assert closed["reason"] == "idle for too long"
        busy.settimeout(patience(5))
        assert busy.recv(1) == b""  # now nobody talks to it


@pytest.mark.parametrize("family", ["tcp4", "unix"])
def test_a_worker_never_has_more_connections_than_it_may_and_the_others_wait(
    start: Start, load: Load, family: str
) -> None:
    limit, workers, clients = 5, 3, 60
    settings = {"limits.max_connections_per_worker": limit}
    host = start(listen=(family,), workers=workers, settings=settings)
    full = [limit] * workers
    with ExitStack() as stack:
        # Less than the four seconds after which the supervisor would look again by itself.
        sessions = [stack.enter_context(connect(host.address, 3.0)) for _ in range(clients)]
        for session in sessions:
            session.sendall(b"hello\n")
        eventually(lambda: host.board.active == full, "all workers are full")
        for number, session in enumerate(sessions):
            # Those in front are served; each one that leaves makes room for the next.
            answer = session.recv(100).split()
            assert answer[3] == b"hello"
            assert int(answer[2]) <= limit
            served = sum(host.board.accepted)
            assert number < served <= limit * workers + number
            session.close()
    eventually(lambda: sum(host.board.active) == 0, "all have left")
    assert sum(host.board.accepted) == clients
    assert host.board.spurious == [0] * workers


def test_a_limit_of_one_serves_everybody_in_the_end(start: Start, load: Load) -> None:
    settings = {"limits.max_connections_per_worker": 1}
    host = start(workers=4, settings=settings)
    load.open(host.address, 200)
    result = load.exchange(leave=True)  # whoever is served leaves, which lets the next one in
    assert result["failures"] == {}
    assert len(result["answers"]) == 200
    assert {active for *_, active in result["answers"]} == {1}
