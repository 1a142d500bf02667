"""How a host takes its leave: goodbyes are spread, load balancers have notice, it ends in time."""

from __future__ import annotations

import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from host.testing.machine import Stopwatch
from support.address import connect
from support.asking import fresh_name, query
from support.hosting import FAULTY, SUPPORT, Host, Load, Start
from support.processes import of_session
from support.session import ask, poison

pytestmark = [pytest.mark.process, pytest.mark.warm]

POLITE = str(SUPPORT / "polite.py")
SLACK_SECONDS = 0.5
"""How much later than its deadline a host may be gone on an idle machine."""


@pytest.fixture
def named(start: Start) -> Callable[..., tuple[Host, str]]:
    """Start a host with a name of its own; return both."""

    def begin(plugin: str = POLITE, **settings: Any) -> tuple[Host, str]:
        name = fresh_name()
        chosen = {f"lifecycle.{key}": value for key, value in settings.items()}
        return start("--name", name, plugin=plugin, workers=2, settings=chosen), name

    return begin


@pytest.fixture
def guests(named: Callable[..., tuple[Host, str]]) -> Iterator[Callable[..., Any]]:
    """Start a host with 20 guests."""
    with ExitStack() as closing:

        def begin(**settings: Any) -> tuple[Host, list[socket.socket]]:
            host, _ = named(**settings)
            sessions = [closing.enter_context(connect(host.address)) for _ in range(20)]
            for session in sessions:
                ask(session)
            return host, sessions

        yield begin


def goodbyes(sessions: list[socket.socket]) -> list[float]:
    """Return when, in seconds from now, a goodbye came on each connection; each one then leaves."""
    began, waiting, times = time.monotonic(), list(sessions), []
    while waiting:
        ready, _, _ = select.select(waiting, [], [], 10.0)
        assert ready, f"{len(waiting)} have heard nothing"
        for session in ready:
            assert session.recv(100) == b"bye\n"
            times.append(time.monotonic() - began)
            session.close()
            waiting.remove(session)
    return times


def test_who_has_heard_nothing_yet_hears_it_when_the_end_comes_sooner(
    guests: Callable[..., Any],
) -> None:
    host, sessions = guests(drain_spread_seconds=60, drain_timeout_seconds=120)
    host.signal(signal.SIGINT)
    host.wait_for("host_stopping")
    host.interrupt_again()
    assert len(goodbyes(sessions)) == 20
    host.wait()


@pytest.mark.timing
def test_goodbyes_are_spread(guests: Callable[..., Any]) -> None:
    host, sessions = guests(drain_spread_seconds=1.0)
    watch = Stopwatch()
    host.signal(signal.SIGTERM)
    times = goodbyes(sessions)
    print(", ".join(f"{when:.2f}" for when in times))
    assert max(times) <= 1.0 + watch.scaled(0.3)
    # By chance alone they are that close together once in 20,000 times.
    assert max(times) - min(times) >= 0.5
    assert len({round(when, 2) for when in times}) >= 10
    assert host.wait() == 0
    assert not host.events("connections_cut")


@pytest.mark.timing
def test_goodbyes_take_no_more_than_half_of_the_time_there_is(guests: Callable[..., Any]) -> None:
    host, sessions = guests(drain_spread_seconds=60.0, drain_timeout_seconds=1.5)
    watch = Stopwatch()
    host.signal(signal.SIGTERM)
    times = goodbyes(sessions)
    assert max(times) <= 0.75 + watch.scaled(0.3)
    assert max(times) - min(times) >= 0.3
    assert host.wait() == 0


@pytest.mark.timing
def test_without_a_spread_they_are_said_at_once(guests: Callable[..., Any]) -> None:
    host, sessions = guests(drain_spread_seconds=0)
    watch = Stopwatch()
    host.signal(signal.SIGTERM)
    times = goodbyes(sessions)
    assert max(times) - min(times) <= watch.scaled(0.2)
    assert host.wait() == 0


def test_a_guest_who_leaves_before_its_goodbye_is_told_nothing(guests: Callable[..., Any]) -> None:
    host, sessions = guests(drain_spread_seconds=5.0)
    host.signal(signal.SIGTERM)
    host.wait_for("host_stopping")
    for session in sessions:
        session.close()
    assert host.wait(4.0) == 0
    assert not host.events("hook_failed")


@pytest.mark.timing
def test_sigterm_takes_connections_for_a_while_and_says_it_is_not_ready(
    named: Callable[..., tuple[Host, str]],
) -> None:
    host, name = named(shutdown_delay_seconds=1.5)
    status = query(name, "status")
    assert (status["state"], status["ready"]) == ("serving", True)
    watch = Stopwatch()
    host.signal(signal.SIGTERM)
    host.wait_for("host_stopping")
    status = query(name, "status")
    assert (status["state"], status["ready"]) == ("stopping", False)
    served = 0
    with connect(host.address) as session:
        while watch.seconds < 1.2:
            with connect(host.address) as newcomer:
                ask(newcomer)
                served += 1
        ask(session)
        assert not host.events("worker_exited")
        assert session.recv(100) == b"bye\n"
        assert 1.4 <= watch.seconds <= 1.5 + 1.0 + watch.scaled(SLACK_SECONDS)
    assert host.wait() == 0
    assert served > 10
    with pytest.raises(ConnectionRefusedError):
        connect(host.address)


@pytest.mark.timing
def test_the_command_waits_as_sigterm_does_and_tells_for_how_long(
    named: Callable[..., tuple[Host, str]],
) -> None:
    host, name = named(shutdown_delay_seconds=1.0, drain_timeout_seconds=5.0)
    watch = Stopwatch()
    assert 5.9 <= query(name, "stop")["seconds"] <= 6.0
    with connect(host.address) as newcomer:
        ask(newcomer)
    assert host.wait() == 0
    assert 0.9 <= watch.seconds <= 1.0 + watch.scaled(SLACK_SECONDS)


@pytest.mark.timing
@pytest.mark.parametrize("first", [(), (signal.SIGTERM,)])
def test_sigint_does_not_wait(
    named: Callable[..., tuple[Host, str]], first: tuple[signal.Signals, ...]
) -> None:
    host, _ = named(shutdown_delay_seconds=30.0)
    for number in first:
        host.signal(number)
        host.wait_for("host_stopping")
    watch = Stopwatch()
    if first:
        host.interrupt_again()
    else:
        host.signal(signal.SIGINT)
    assert host.wait() == 0
    assert watch.seconds <= watch.scaled(1.0)


@pytest.mark.timing
def test_who_does_not_leave_is_cut_and_counted(
    named: Callable[..., tuple[Host, str]], load: Load
) -> None:
    delay = 0.5
    host, _ = named("echo", drain_timeout_seconds=0.8, shutdown_delay_seconds=delay)
    load.open(host.address, 30)
    with connect(host.address) as session:
        session.sendall(b"x")
        assert session.recv(1) == b"x"
        watch = Stopwatch()
        host.signal(signal.SIGTERM)
        assert host.wait() == 9
        assert 0.7 + delay <= watch.seconds <= 0.8 + delay + watch.scaled(SLACK_SECONDS)
    cut = host.events("connections_cut")
    assert sum(event["count"] for event in cut) == 31
    assert sorted(event["slot"] for event in cut) == [0, 1]
    assert host.events("host_stopped")[0]["code"] == 9


@pytest.mark.timing
def test_a_worker_that_is_stuck_at_the_deadline_prints_its_stacks(
    start: Start,
) -> None:
    host = start(
        plugin=FAULTY,
        settings={
            "options.faulty.hook": "on_readable",
            "options.faulty.how": "hang",
            "lifecycle.drain_timeout_seconds": 1.0,
        },
        workers=2,
    )
    with connect(host.address) as session:
        slot, pid = poison(session)
        watch = Stopwatch()
        host.signal(signal.SIGTERM)
        assert host.wait() == 9
        assert 0.9 <= watch.seconds <= 1.0 + watch.scaled(SLACK_SECONDS)
    (killed,) = host.events("worker_killed")
    assert (killed["slot"], killed["pid"]) == (slot, pid)
    assert killed["cause"] == "still there at the drain deadline"
    assert killed["place"] == f"in hook on_readable of plugin faulty, connection {pid}-1"
    assert "_misbehave" in killed["traceback"]
    assert "on_readable" in killed["traceback"]
    assert not host.events("worker_hung")
    assert of_session(host.pid) == []


@pytest.mark.parametrize("quick", [False, True])
def test_a_command_stops_as_signals_do(named: Callable[..., tuple[Host, str]], quick: bool) -> None:
    host, name = named("echo", drain_timeout_seconds=20)
    with connect(host.address) as session:
        session.sendall(b"x")
        assert session.recv(1) == b"x"
        assert query(name, "stop", quick=quick)["seconds"] == pytest.approx(1.0 if quick else 20.0)
        if quick:
            assert session.recv(1) == b""
        else:
            host.wait_for("worker_exited")
            status = query(name, "status")
            assert (status["state"], status["ready"]) == ("stopping", False)
            session.sendall(b"x")
            assert session.recv(1) == b"x"
    assert host.wait() == (9 if quick else 0)
    with pytest.raises(ConnectionRefusedError):
        query(name, "status")
