"""Stopping: what is open may finish, nobody who was let in is reset, and it ends in time."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

import pytest

from host.testing.machine import Stopwatch
from support.address import connect
from support.hosting import Load, Start, eventually, spread
from support.session import ask

pytestmark = pytest.mark.process

SLACK_SECONDS = 0.5
"""How much later than its deadline a host may be gone on an idle machine."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("family", ["tcp4", "tcp6", "unix"])
def test_open_connections_live_on_until_they_finish(
    start: Start, family: str, number: signal.Signals
) -> None:
    host = start(listen=(family,), workers=2)
    with connect(host.address) as first, connect(host.address) as second:
        ask(first)
        ask(second)
        host.signal(number)
        assert host.wait_for("host_stopping")["cause"] == number.name
        for _ in range(100):
            ask(first)
        # One after the other: the last one to finish is the one that the host waits for.
        second.shutdown(socket.SHUT_WR)
        assert second.recv(1) == b""
        host.wait_for("worker_exited")
        ask(first)
    assert host.wait() == 0
    assert host.events("host_stopped")[-1]["code"] == 0


def test_nobody_new_gets_in_while_open_connections_finish(start: Start) -> None:
    host = start(listen=("tcp4", "unix"), workers=2)
    with connect(host.addresses[0]) as session:
        ask(session)
        host.signal(signal.SIGTERM)
        host.wait_for("worker_exited")  # the one without a connection: the gate is closed
        for address in host.addresses:
            with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
                connect(address)
        ask(session)
    assert host.wait() == 0


@pytest.mark.timing
@pytest.mark.parametrize("family", ["tcp4", "unix"])
def test_what_is_still_open_at_the_deadline_is_cut(start: Start, load: Load, family: str) -> None:
    settings = {"lifecycle.drain_timeout_seconds": 0.5}
    host = start(listen=(family,), workers=2, settings=settings)
    assert load.burst(host.address, 5)["failures"] == {}
    watch = Stopwatch()
    host.signal(signal.SIGTERM)
    assert host.wait() == 9
    assert 0.4 <= watch.seconds <= 0.5 + watch.scaled(SLACK_SECONDS)
    cut = host.events("connections_cut")
    assert sum(event["count"] for event in cut) == 5
    assert len({event["slot"] for event in cut}) == 2
    assert sum(load.exchange()["failures"].values()) == 5


def test_a_protocol_that_says_goodbye_ends_at_once(start: Start, load: Load) -> None:
    host = start(plugin="line", workers=2)
    with connect(host.address) as session:
        session.sendall(b"PING\r\n")
        assert session.recv(100) == b"+PONG\r\n"
        watch = Stopwatch()
        assert host.stop() == 0
        assert watch.seconds <= watch.scaled(2.0)
        assert session.recv(100) == b""


@pytest.mark.timing
def test_a_second_interrupt_is_quick(start: Start) -> None:
    host = start(workers=2)
    with connect(host.address) as session:
        ask(session)
        host.signal(signal.SIGINT)
        host.wait_for("host_stopping")
        ask(session)
        host.interrupt_again()
        watch = Stopwatch()
        assert host.wait() == 9
        assert watch.seconds <= watch.scaled(1.5)
        assert host.wait_for("host_stopping_now")["cause"] == "a second SIGINT"
        assert session.recv(100) == b""


def test_a_second_sigterm_changes_nothing(start: Start) -> None:
    host = start(workers=2)
    with connect(host.address) as session:
        ask(session)
        host.signal(signal.SIGTERM)
        host.wait_for("worker_exited")
        for _ in range(5):
            host.signal(signal.SIGTERM)
            ask(session)
    assert host.wait() == 0
    assert len(host.events("host_stopping")) == 1


def test_sigterm_to_a_worker_replaces_it_and_lets_it_finish(start: Start, load: Load) -> None:
    host = start(workers=2)
    with connect(host.address) as session:
        slot, pid, _ = ask(session)
        mark = host.mark()
        os.kill(pid, signal.SIGTERM)
        assert host.wait_for("worker_recycled", since=mark)["slot"] == slot
        fresh = host.wait_for("worker_ready", since=mark)
        assert fresh["slot"] == slot
        # It takes nothing new, once the supervisor has heard of it; until then it may.
        eventually(lambda: drained(load, host.address, pid), "the worker takes nothing new")
        assert ask(session)[:2] == [slot, pid]
        result = load.burst(host.address, 50)
        taken = {found for _, found, _ in result["answers"]}
        assert taken == {host.workers[1 - slot], fresh["pid"]}
    exited = host.wait_for("worker_exited", since=mark)
    assert (exited["slot"], exited["pid"], exited["cause"]) == (slot, pid, "exit code 0")
    again = load.burst(host.address, 50, group="again")
    counts, difference = spread(again["answers"], 2)
    assert difference <= 1, counts


def drained(load: Load, address: str, pid: int) -> bool:
    result = load.burst(address, 4, group="probe")
    load.close(group="probe")
    return pid not in {found for _, found, _ in result["answers"]}


def test_sigpipe_ends_nobody(start: Start, load: Load) -> None:
    host = start(workers=2)
    for pid in (host.pid, *host.workers.values()):
        os.kill(pid, signal.SIGPIPE)
    result = load.burst(host.address, 20)
    assert result["failures"] == {}
    assert {pid for _, pid, _ in result["answers"]} == set(host.workers.values())
    assert host.events("worker_died") == []


@pytest.mark.parametrize("clients", [8, 32])
@pytest.mark.parametrize("family", ["tcp4", "tcp6", "unix"])
def test_stops_under_load_fail_nobody_who_was_let_in(
    start: Start, loads: Callable[[], Load], family: str, clients: int
) -> None:
    """Five hosts at a time, so that each is interrupted at awkward moments."""
    hosts = [start(listen=(family,), workers=1 + turn, ready=False) for turn in range(5)]
    for host in hosts:
        host.wait_for("host_ready")
    under_load = [loads() for _ in hosts]
    for turn, (host, load) in enumerate(zip(hosts, under_load, strict=True)):
        announce = 300 + 50 * turn
        arguments = {"clients": clients, "patience": 10.0, "announce": announce}
        load.begin("churn", address=host.address, **arguments)
    for host, load in zip(hosts, under_load, strict=True):
        assert load.answer() == {"under_way": True}
        host.signal(signal.SIGTERM)
    for host, load in zip(hosts, under_load, strict=True):
        assert host.wait() == 0
        result = load.answer()
        print(result)
        assert result["failures"] == {}
        assert result["refused"] == clients
        assert host.events("connections_cut") == []


def test_a_stop_of_the_whole_process_group_fails_nobody_either(start: Start, load: Load) -> None:
    """A terminal and some service managers signal every process, not only the first."""
    host = start(workers=4)
    load.begin("churn", address=host.address, clients=8, patience=5.0, announce=200)
    assert load.answer() == {"under_way": True}
    os.killpg(host.pid, signal.SIGTERM)
    assert host.wait() == 0
    result = load.answer()
    assert result["failures"] == {}
    assert result["refused"] == 8
