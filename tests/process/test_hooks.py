"""Hooks that fail are named, and end no more than what they belong to."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress

import pytest

from support.address import connect
from support.hosting import FAULTY, NONSENSE, Load, Start, spread
from support.session import ask, poison

pytestmark = [pytest.mark.process, pytest.mark.warm]


def faulty(hook: str, how: str) -> dict[str, str]:
    return {"options.faulty.hook": hook, "options.faulty.how": how}


def ended(sock: socket.socket) -> bool:
    """Wait for the host to close; tell whether it has."""
    with suppress(ConnectionResetError):
        return sock.recv(1) == b""
    return True


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_on_readable_that_raises_ends_its_connection_only(
    start: Start, load: Load, how: str
) -> None:
    host = start(plugin=FAULTY, settings=faulty("on_readable", how), workers=1)
    assert load.burst(host.address, 20)["failures"] == {}
    with connect(host.address) as client:
        ask(client)
        poison(client)
        assert ended(client)
    failed = host.wait_for("hook_failed")
    assert (failed["plugin"], failed["hook"]) == ("faulty", "on_readable")
    assert ("misbehaving" if how == "raise" else "SystemExit") in failed["error"]
    assert failed["peer"].startswith("127.0.0.1:")
    assert "faulty.py" in failed["traceback"]
    assert load.exchange()["failures"] == {}
    assert load.burst(host.address, 20, group="more")["failures"] == {}
    assert host.events("worker_died") == []


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_on_accept_that_raises_ends_its_connection_only(start: Start, load: Load, how: str) -> None:
    host = start(plugin=FAULTY, settings=faulty("on_accept", how), workers=1)
    result = load.burst(host.address, 100)
    assert sum(result["failures"].values()) == 50
    assert "timeout" not in result["failures"]
    assert len(result["answers"]) == 50
    failed = host.wait_for("hook_failed")
    assert (failed["plugin"], failed["hook"]) == ("faulty", "on_accept")
    assert failed["consequence"] == "the connection is closed"
    assert load.exchange()["failures"].keys() == result["failures"].keys()
    assert host.board.active == [50]
    assert host.events("worker_died") == []


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_on_close_that_raises_harms_nobody(start: Start, load: Load, how: str) -> None:
    host = start(plugin=FAULTY, settings=faulty("on_close", how), workers=1)
    for turn in range(5):
        assert load.burst(host.address, 20, group=str(turn))["failures"] == {}
        load.close(group=str(turn), count=10)
    failed = host.wait_for("hook_failed")
    assert (failed["plugin"], failed["hook"]) == ("faulty", "on_close")
    for turn in range(5):
        assert load.exchange(group=str(turn))["failures"] == {}
    assert host.events("worker_died") == []


def test_on_drain_that_raises_leaves_the_connection_until_the_deadline(start: Start) -> None:
    settings = faulty("on_drain", "raise") | {"lifecycle.drain_timeout_seconds": "0.5"}
    host = start(plugin=FAULTY, settings=settings, workers=1)
    with connect(host.address) as client:
        ask(client)
        assert host.stop() == 9
        assert ended(client)
    failed = host.wait_for("hook_failed")
    assert (failed["plugin"], failed["hook"]) == ("faulty", "on_drain")
    assert host.events("connections_cut")[0]["count"] == 1


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_on_worker_stop_that_raises_is_named(start: Start, how: str) -> None:
    host = start(plugin=FAULTY, settings=faulty("on_worker_stop", how), workers=2)
    assert host.stop() == 0
    assert len(host.events("hook_failed", plugin="faulty", hook="on_worker_stop")) == 2


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_on_child_exit_that_raises_keeps_nobody_from_being_replaced(
    start: Start, load: Load, how: str
) -> None:
    host = start(plugin=FAULTY, settings=faulty("on_child_exit", how), workers=2)
    for slot in (0, 1):
        mark = host.mark()
        os.kill(host.workers[slot], signal.SIGKILL)
        host.wait_for("hook_failed", hook="on_child_exit", plugin="faulty", since=mark)
        host.wait_for("worker_ready", slot=slot, since=mark)
    assert load.burst(host.address, 20)["failures"] == {}


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_a_scheduler_that_raises_is_named_and_round_robin_takes_over(
    start: Start, load: Load, how: str
) -> None:
    host = start(plugin=FAULTY, settings=faulty("choose_worker", how), workers=4)
    result = load.burst(host.address, 200)
    assert result["failures"] == {}
    counts, difference = spread(result["answers"], 4)
    assert difference <= 1, counts
    failed = host.wait_for("hook_failed")
    assert (failed["plugin"], failed["hook"]) == ("faulty", "choose_worker")


@pytest.mark.parametrize("default", [(), ("--plugin", "no:round_robin")])
def test_a_scheduler_that_answers_nonsense_is_named_and_round_robin_takes_over(
    start: Start, load: Load, default: tuple[str, ...]
) -> None:
    host = start("--plugin", NONSENSE, *default, workers=4)
    result = load.burst(host.address, 200)
    assert result["failures"] == {}
    counts, difference = spread(result["answers"], 4)
    assert difference <= 1, counts
    failed = host.wait_for("hook_failed")
    assert (failed["plugin"], failed["hook"]) == ("nonsense", "choose_worker")
    assert "worker 7" in failed["error"]


def test_what_fails_often_is_not_logged_each_time(start: Start, load: Load) -> None:
    host = start(plugin=FAULTY, settings=faulty("on_accept", "raise"), workers=1)
    load.burst(host.address, 1000)
    load.close()
    assert host.stop() == 0
    assert 1 <= len(host.events("hook_failed")) <= 20


def test_an_on_readable_that_hangs_costs_one_worker_only(start: Start, load: Load) -> None:
    host = start(
        patient=False,
        plugin=FAULTY,
        settings=faulty("on_readable", "hang") | {"lifecycle.drain_timeout_seconds": "0.5"},
        workers=2,
    )
    with connect(host.address) as client:
        slot, _ = poison(client)
        result = load.burst(host.address, 50)
        assert result["failures"] == {}
        assert {other for other, *_ in result["answers"]} == {1 - slot}
        load.close()
        assert host.stop() == 9
    assert host.events("worker_killed", slot=slot)
