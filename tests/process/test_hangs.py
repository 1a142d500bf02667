"""Workers that hang are found out and replaced, and only those."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from host.testing.machine import Stopwatch
from support.address import connect
from support.hosting import Host, Start, eventually, freeze, thaw
from support.processes import Watch, at_rest

pytestmark = [pytest.mark.process, pytest.mark.warm]

HANG_SECONDS = 1.0
PLUGIN = """
import re
import signal
import time

from host import hookimpl


def spin(seconds=1e9):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def backtrack():
    re.match("(a+)+$", "a" * 60 + "b")


def deaf():
    signal.signal(signal.SIGABRT, signal.SIG_IGN)
    spin()


def half():
    spin(0.5)


def short():
    spin(0.01)


def timers(worker):
    for _ in range(300):
        worker.call_later(0, short)


@hookimpl
def on_readable(connection):
    *words, rest = ((connection.data or b"") + connection.read()).decode().split("\\n")
    connection.data = rest.encode()
    worker = connection.worker
    for word in words:
        if word in ("half", "short"):
            globals()[word]()
        if word == "timers":
            timers(worker)
        connection.write(f"{worker.slot} {worker.pid} {connection.id} {word}\\n".encode())
        if word in ("spin", "backtrack", "deaf"):
            connection.flush()
            globals()[word]()
"""
GODOT = """
import pathlib

from host import hookimpl


def await_godot():
    while True:
        pass


@hookimpl
def on_worker_start(worker):
"""
STARTING = GODOT + "    await_godot()\n"
FIRST_TURN = (
    GODOT
    + """
    if worker.slot == 0 and not pathlib.Path("once").exists():
        pathlib.Path("once").touch()
        worker.call_later(0, await_godot)
"""
)


@pytest.fixture
def hanging(start: Start, tmp_path: Path) -> Callable[..., Host]:
    """Start a host whose handlers do what lines say."""
    (tmp_path / "hanging.py").write_text(PLUGIN)

    def begin(seconds: float | None = HANG_SECONDS, **settings: Any) -> Host:
        chosen = {f"lifecycle.{key}": value for key, value in settings.items()}
        if seconds is not None:
            chosen["lifecycle.hang_seconds"] = seconds
        return start(plugin="./hanging.py", settings=chosen, patient=False)

    return begin


@pytest.fixture
def watch() -> Iterator[Callable[[int], Watch]]:
    """Watch for the end of processes."""
    with ExitStack() as closing:

        def begin(pid: int) -> Watch:
            watch = Watch(pid)
            closing.callback(watch.close)
            return watch

        yield begin


def say(sock: socket.socket, word: str) -> tuple[int, int, str]:
    """Have a word answered; return slot and pid of the worker, and the connection's id."""
    sock.sendall(f"{word}\n".encode())
    received = b""
    while not received.endswith(b"\n"):
        data = sock.recv(4096)
        assert data, f"end of file after {received!r}"
        received += data
    slot, pid, connection, _ = received.split()
    return int(slot), int(pid), connection.decode()


def serve_until_replaced(host: Host, slot: int, mark: int) -> float:
    """Be served on new connections until a worker is replaced; return the longest time it took."""
    longest, replaced = 0.0, False
    while not replaced:
        replaced = bool(host.events("worker_ready", slot=slot, since=mark))
        assert not host.events("host_stopped")
        began = time.monotonic()
        with connect(host.address) as sock:
            say(sock, "hello")
        longest = max(longest, time.monotonic() - began)
    return longest


def found_serving(host: Host) -> set[int]:
    """Return the pids of the workers that serve four new connections."""
    with ExitStack() as closing:
        return {say(closing.enter_context(connect(host.address)), "hello")[1] for _ in range(4)}


def both_serve(host: Host, *pids: int) -> None:
    """Wait until two workers serve, those with these pids if any are given."""

    def found() -> bool:
        serving = found_serving(host)
        return serving == set(pids) if pids else len(serving) == 2

    eventually(found, "both workers serve")


def seconds_between(first: dict[str, Any], second: dict[str, Any]) -> float:
    """Return how much later the host has told the second event."""
    one, other = (datetime.fromisoformat(event["time"]) for event in (first, second))
    return (other - one).total_seconds()


@pytest.mark.timing
@pytest.mark.parametrize("how", ["spin", "backtrack"])
def test_a_handler_that_never_returns_is_named_and_its_worker_replaced(
    hanging: Callable[..., Host], how: str
) -> None:
    host = hanging()
    both_serve(host)
    with connect(host.address) as session, connect(host.address) as other:
        _, well, _ = say(other, "hello")
        mark = host.mark()
        slot, pid, connection = say(session, how)
        watch = Stopwatch()
        assert well != pid
        longest = serve_until_replaced(host, slot, mark)
        lasted, slack, most = watch.seconds, watch.scaled(0.5), watch.scaled(0.3)
        assert say(other, "hello")[1] == well
    hung = host.wait_for("worker_hung", since=mark)
    assert (hung["slot"], hung["pid"]) == (slot, pid)
    assert hung["place"] == f"in hook on_readable of plugin hanging, connection {connection}"
    assert how in hung["traceback"]
    assert "on_readable" in hung["traceback"]
    assert HANG_SECONDS <= hung["seconds"] <= HANG_SECONDS + slack
    died = host.wait_for("worker_died", since=mark)
    assert (died["slot"], died["pid"], died["cause"]) == (slot, pid, "killed by SIGABRT")
    assert died["next"] == "replaced at once"
    assert died["place"] == hung["place"]
    assert not host.events("worker_killed")
    assert lasted <= HANG_SECONDS + 2 * slack
    assert longest <= most
    both_serve(host, well, host.workers[slot])


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_a_worker_that_is_stopped_is_replaced_too(hanging: Callable[..., Host], state: str) -> None:
    host = hanging()
    with connect(host.address) as session:
        mark = host.mark()
        slot, pid, connection = say(session, "spin" if state == "busy" else "hello")
        if state == "idle":
            eventually(lambda: at_rest(pid), "it is through with the line")
        freeze(pid)
        serve_until_replaced(host, slot, mark)
    hung = host.wait_for("worker_hung", since=mark)
    assert (hung["slot"], hung["pid"]) == (slot, pid)
    assert hung["traceback"] == "no stacks: the process is stopped (SIGSTOP or a debugger)"
    if state == "busy":
        assert hung["place"] == f"in hook on_readable of plugin hanging, connection {connection}"
    else:
        assert hung["place"] == "outside any hook"
    killed = host.wait_for("worker_killed", since=mark)
    assert killed["cause"] == "it did not get on (hang_seconds)"
    assert host.wait_for("worker_died", since=mark)["cause"] == "killed by SIGKILL"
    assert pid not in found_serving(host)


def test_a_plugin_that_ignores_sigabrt_is_killed(hanging: Callable[..., Host]) -> None:
    host = hanging()
    with connect(host.address) as session:
        mark = host.mark()
        slot, pid, _ = say(session, "deaf")
        serve_until_replaced(host, slot, mark)
    assert "deaf" in host.wait_for("worker_hung", pid=pid, since=mark)["traceback"]
    killed = host.wait_for("worker_killed", pid=pid, since=mark)
    assert killed["cause"] == "it did not get on (hang_seconds)"
    assert host.wait_for("worker_died", pid=pid, since=mark)["cause"] == "killed by SIGKILL"
    assert pid not in found_serving(host)


@pytest.mark.timing
def test_a_hang_while_the_host_stops_does_not_last_until_the_drain_deadline(
    hanging: Callable[..., Host],
) -> None:
    host = hanging(drain_timeout_seconds=20)
    with connect(host.address) as session:
        _, pid, _ = say(session, "spin")
        host.signal(signal.SIGTERM)
        watch = Stopwatch()
        assert host.wait() == 9
        assert watch.seconds <= HANG_SECONDS + watch.scaled(1.0)
    assert "spin" in host.events("worker_hung", pid=pid)[0]["traceback"]


@pytest.mark.timing
def test_by_default_a_hang_is_noticed_within_five_seconds(start: Start, tmp_path: Path) -> None:
    """It hangs in the first turn of its loop, when the supervisor has not seen it turn yet."""
    (tmp_path / "starting.py").write_text(FIRST_TURN)
    host = start("--plugin", "./starting.py", patient=False)
    ready = host.wait_for("worker_ready", slot=0)
    hung = host.wait_for("worker_hung")
    assert hung["slot"] == 0
    assert "await_godot" in hung["traceback"]
    assert hung["place"] == "in a callback"
    host.wait_for("worker_ready", slot=0, count=2)
    assert seconds_between(ready, hung) <= 5.0


@pytest.mark.timing
def test_a_handler_of_half_that_time_is_let_finish(hanging: Callable[..., Host]) -> None:
    host = hanging()
    with connect(host.address) as session:
        assert len({say(session, "half") for _ in range(3)}) == 1
    assert not host.events("worker_hung")


@pytest.mark.timing
def test_a_loop_with_many_short_handlers_is_not_taken_for_one_that_hangs(
    hanging: Callable[..., Host],
) -> None:
    host = hanging()
    mark = host.mark()
    with ExitStack() as closing:
        sessions = [closing.enter_context(connect(host.address)) for _ in range(40)]
        before = {say(session, "hello") for session in sessions}
        until = time.monotonic() + 3 * HANG_SECONDS
        for session in sessions:
            session.sendall(b"short\n")
        answers = 0
        while time.monotonic() < until:
            ready, _, _ = select.select(sessions, [], [], 10.0)
            assert ready
            for session in ready:
                assert session.recv(4096).endswith(b"short\n")
                session.sendall(b"short\n")
                answers += 1
        for session in sessions:
            assert session.recv(4096).endswith(b"short\n")
        assert {say(session, "hello") for session in sessions} == before
    print(f"{answers} handlers of 10 ms in two workers")
    assert not host.events("worker_hung")
    assert not host.events("worker_exited", since=mark)


@pytest.mark.timing
def test_a_turn_with_a_call_for_each_of_many_connections_is_no_hang(
    hanging: Callable[..., Host],
) -> None:
    """400 handlers of 10 ms in two workers: one turn each, of twice the time of a hang."""
    host = hanging()
    mark = host.mark()
    with ExitStack() as closing:
        sessions = [closing.enter_context(connect(host.address)) for _ in range(400)]
        before = {say(session, "hello") for session in sessions}
        for session in sessions:
            session.sendall(b"short\n")
        for session in sessions:
            assert session.recv(4096).endswith(b"short\n")
        assert {say(session, "hello") for session in sessions} == before
    assert not host.events("worker_hung")
    assert not host.events("worker_exited", since=mark)


@pytest.mark.timing
def test_a_turn_with_many_callbacks_is_no_hang(hanging: Callable[..., Host]) -> None:
    """300 timers of 10 ms are due in the same turn: three times the time of a hang."""
    host = hanging()
    with connect(host.address) as session:
        before = say(session, "timers")
        assert say(session, "hello") == before
        assert say(session, "hello") == before
    assert not host.events("worker_hung")


@pytest.mark.timing
def test_with_hang_seconds_0_nobody_is_killed(
    hanging: Callable[..., Host], watch: Callable[[int], Watch]
) -> None:
    host = hanging(seconds=0, drain_timeout_seconds=0.3)
    both_serve(host)
    with connect(host.address) as session, connect(host.address) as other:
        _, well, _ = say(other, "hello")
        _, pid, _ = say(session, "spin")
        assert well != pid
        hung = watch(pid)
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            assert say(other, "half")[1] == well
        assert not hung.ended()
        assert not host.events("worker_hung")
        other.close()
        host.signal(signal.SIGTERM)
        assert host.wait() == 9
    assert "spin" in host.wait_for("worker_killed", pid=pid)["traceback"]


@pytest.mark.timing
def test_when_the_whole_host_was_stopped_nobody_is_killed(
    hanging: Callable[..., Host], watch: Callable[[int], Watch]
) -> None:
    """The workers continue after the supervisor: what it saw before does not count."""
    host = hanging()
    before = set(host.workers.values())
    watched = [watch(pid) for pid in before]
    with connect(host.address) as session:
        first = say(session, "hello")
        for pid in (host.pid, *before):
            freeze(pid)
        # Nothing is to happen for so long, and the end of a worker least of all.
        assert not watched[0].ended(3 * HANG_SECONDS)
        thaw(host.pid)
        assert not watched[0].ended(0.4 * HANG_SECONDS)
        os.killpg(host.pid, signal.SIGCONT)
        assert say(session, "hello") == first
        assert not watched[0].ended(1.3 * HANG_SECONDS)
        both_serve(host, *before)
    assert not any(each.ended() for each in watched)
    assert not host.events("worker_hung")


@pytest.mark.timing
def test_a_start_that_hangs_is_ended_by_its_own_time_limit(start: Start, tmp_path: Path) -> None:
    (tmp_path / "starting.py").write_text(STARTING)
    host = start(
        "--plugin",
        "./starting.py",
        "--log-level",
        "debug",
        workers=1,
        settings={"lifecycle.hang_seconds": 0.3, "lifecycle.start_timeout_seconds": 1.2},
        ready=False,
    )
    pid = host.wait_for("worker_started")["pid"]
    watch = Stopwatch()
    killed = host.wait_for("worker_killed", pid=pid)
    assert 1.0 <= watch.seconds <= 1.2 + watch.scaled(0.8)
    assert killed["cause"] == "not ready after 1.2 s (start_timeout_seconds)"
    assert killed["place"] == "in hook on_worker_start of plugin starting"
    assert "await_godot" in killed["traceback"]
    assert host.wait() == 6
    assert not host.events("worker_hung")
