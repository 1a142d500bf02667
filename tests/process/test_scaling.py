"""The number of workers changes while the host runs, and nobody is cut off by that."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from typing import Any

import pytest

from support.address import connect
from support.asking import RefusedError, fresh_name, query
from support.hosting import Host, Load, Start, eventually
from support.processes import children
from support.session import ask

pytestmark = [pytest.mark.process, pytest.mark.warm]


def named(start: Start, workers: int, **settings: Any) -> tuple[Host, str]:
    name = fresh_name()
    chosen = {f"lifecycle.{key}": value for key, value in settings.items()}
    return start("--name", name, workers=workers, settings=chosen), name


def serving(host: Host, count: int) -> set[int]:
    """Return the slots that serve so many new connections, which are open at the same time."""
    with ExitStack() as closing:
        return {ask(closing.enter_context(connect(host.address)))[0] for _ in range(count)}


def there_are(host: Host, workers: int) -> None:
    """Wait until there are so many processes."""
    eventually(lambda: len(children(host.pid)) == workers, f"there are {workers} workers")


def scale(host: Host, name: str, workers: int, how: str) -> str:
    """Go one worker up or down by a signal or the command; return the cause that is told."""
    if how == "command":
        query(name, "scale", workers=workers)
        return "a command"
    more = workers > query(name, "status")["workers_wanted"]
    number = signal.SIGTTIN if more else signal.SIGTTOU
    host.signal(number)
    return number.name


@pytest.mark.parametrize("how", ["signal", "command"])
def test_one_more_and_one_less(start: Start, how: str) -> None:
    host, name = named(start, 2)
    mark = host.mark()
    cause = scale(host, name, 3, how)
    told = host.wait_for("workers_scaled", since=mark)
    assert (told["workers"], told["before"], told["cause"]) == (3, 2, cause)
    assert host.wait_for("worker_ready", since=mark)["slot"] == 2
    assert serving(host, 9) == {0, 1, 2}
    mark = host.mark()
    cause = scale(host, name, 2, how)
    told = host.wait_for("workers_scaled", since=mark)
    assert (told["workers"], told["before"], told["cause"]) == (2, 3, cause)
    ended = host.wait_for("worker_exited", since=mark)
    assert (ended["slot"], ended["cause"]) == (2, "exit code 0")
    assert serving(host, 9) == {0, 1}
    assert query(name, "status")["workers_wanted"] == 2
    there_are(host, 2)


def test_many_more_and_many_less_by_one_command(start: Start) -> None:
    host, name = named(start, 1)
    assert query(name, "scale", workers=8) == {"workers": 8, "before": 1}
    for slot in range(8):
        host.wait_for("worker_ready", slot=slot)
    assert serving(host, 16) == set(range(8))
    assert query(name, "scale", workers=1) == {"workers": 1, "before": 8}
    host.wait_for("worker_exited", count=7)
    assert serving(host, 4) == {0}


def test_connections_of_a_slot_that_is_gone_go_on(start: Start) -> None:
    host, name = named(start, 2)
    with ExitStack() as closing:
        sessions = [closing.enter_context(connect(host.address)) for _ in range(2)]
        before = [ask(session) for session in sessions]
        assert {slot for slot, *_ in before} == {0, 1}
        query(name, "scale", workers=1)
        assert serving(host, 4) == {0}
        for _ in range(50):
            assert [ask(session)[1] for session in sessions] == [pid for _, pid, _ in before]
        # The slot comes back while its former worker still drains; there are two of it now.
        mark = host.mark()
        query(name, "scale", workers=2)
        host.wait_for("worker_ready", slot=1, since=mark)
        assert serving(host, 4) == {0, 1}
        assert [ask(session)[1] for session in sessions] == [pid for _, pid, _ in before]
        states = [(worker["slot"], worker["state"]) for worker in query(name, "status")["workers"]]
        assert sorted(states) == [(0, "serving"), (1, "draining"), (1, "serving")]
    assert host.wait_for("worker_exited")["slot"] == 1
    assert not host.events("worker_died")


def test_connections_of_a_slot_that_is_gone_are_cut_at_the_drain_deadline(start: Start) -> None:
    host, _ = named(start, 2, drain_timeout_seconds=0.5)
    with ExitStack() as closing:
        sessions = [closing.enter_context(connect(host.address)) for _ in range(2)]
        slots = [ask(session)[0] for session in sessions]
        gone, stays = (sessions[slots.index(slot)] for slot in (1, 0))
        host.signal(signal.SIGTTOU)
        assert gone.recv(1) == b""
        ask(stays)
    assert host.wait_for("connections_cut")["slot"] == 1
    assert host.wait_for("worker_exited")["slot"] == 1


def test_there_is_always_one_worker(start: Start) -> None:
    host, name = named(start, 2)
    for _ in range(5):
        host.signal(signal.SIGTTOU)
        query(name, "status")  # two signals of a kind that wait are one (signal(7))
    host.wait_for("worker_exited")
    with pytest.raises(RefusedError, match="from 1 to 1024, not 0"):
        query(name, "scale", workers=0)
    assert query(name, "status")["workers_wanted"] == 1
    assert len(host.events("workers_scaled")) == 1
    assert serving(host, 4) == {0}


def test_there_are_never_more_than_1024(start: Start) -> None:
    host, name = named(start, 2)
    for workers in (1025, 10**9, -1):
        with pytest.raises(RefusedError, match="from 1 to 1024"):
            query(name, "scale", workers=workers)
    assert not host.events("workers_scaled")
    assert serving(host, 4) == {0, 1}


def test_nobody_is_started_for_a_host_that_is_stopping(start: Start) -> None:
    host, name = named(start, 2)
    with connect(host.address) as session:
        ask(session)
        host.signal(signal.SIGTERM)
        host.wait_for("host_stopping")
        host.signal(signal.SIGTTIN)
        with pytest.raises(RefusedError, match="the host is stopping"):
            query(name, "scale", workers=4)
        ask(session)
    assert host.wait() == 0
    assert not host.events("workers_scaled")
    assert len(host.events("worker_ready")) == 2


def test_no_connection_fails_while_the_number_changes(start: Start, load: Load) -> None:
    host, name = named(start, 2)
    load.begin("churn", address=host.address, clients=4, patience=5.0, announce=100)
    assert load.answer() == {"under_way": True}
    for workers in (4, 1, 3, 2, 4, 1):
        query(name, "scale", workers=workers)
        there_are(host, workers)
    host.signal(signal.SIGTERM)
    assert host.wait() == 0
    result = load.answer()
    print(result)
    assert result["failures"] == {}
    assert not host.events("worker_died")


def test_a_reload_goes_back_to_what_the_settings_say(start: Start) -> None:
    host, name = named(start, 2)
    query(name, "scale", workers=3)
    host.wait_for("worker_ready", slot=2)
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready")
    host.wait_for("worker_exited", count=3)
    assert query(name, "status")["workers_wanted"] == 2
    assert serving(host, 6) == {0, 1}
