"""Signals do what the table says from the first line of the host's code to its last."""

from __future__ import annotations

import os
import signal
import socket
import sysconfig
from pathlib import Path
from signal import SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGUSR1

import pytest

from host.runtime.signal_table import BLOCKED, SIGNALS
from host.testing.machine import Stopwatch
from support.address import connect
from support.asking import fresh_name, query
from support.hosting import FAULTY, SUPPORT, Host, Start, eventually
from support.processes import Watch, blocked_signals, children, of_session
from support.session import ask

pytestmark = pytest.mark.process

WAITING = str(SUPPORT / "waiting.py")
FORKING = str(SUPPORT / "forking.py")
SCRIPT = str(Path(sysconfig.get_path("scripts")) / "prefork")
STOPPING = (SIGTERM, SIGINT, SIGQUIT)


def early(host: Host) -> None:
    """Wait until the host's first line has run."""
    eventually(lambda: SIGUSR1 in blocked_signals(host.pid), "signals are blocked")


def waiting(folder: Path, where: str, pid: int = 0, how: str = "") -> dict[str, str]:
    """Have the plugin wait; return the variable that tells it of the folder."""
    (folder / where).write_text(f"{pid} {how}")
    return {"WAITING": str(folder)}


def until_it_waits(folder: Path) -> None:
    eventually((folder / "waiting").exists, "the plugin waits")


@pytest.mark.parametrize("number", STOPPING)
@pytest.mark.parametrize("program", [("-m", "host"), (SCRIPT,)])
def test_a_host_that_is_stopped_before_it_has_imported_anything_ends_quietly(
    start: Start, number: signal.Signals, program: tuple[str, ...]
) -> None:
    host = start(program=program, ready=False)
    early(host)
    host.signal(number)
    assert host.wait() == 0
    assert host.events("worker_started") == []


@pytest.mark.parametrize("number", [SIGHUP, SIGUSR1, SIGTTIN])
def test_other_signals_that_come_as_early_have_their_effect_later(
    start: Start, number: signal.Signals
) -> None:
    name = fresh_name()
    host = start("--name", name, ready=False)
    early(host)
    host.signal(number)
    if number == SIGHUP:
        host.wait_for("generation_ready", generation=1)
    elif number == SIGTTIN:
        host.wait_for("worker_ready", slot=2)
    host.wait_for("host_ready")
    assert host.stop() == 0


@pytest.mark.parametrize("number", STOPPING)
@pytest.mark.parametrize("how", ["", "once"])
def test_a_plugin_that_waits_while_it_is_imported_is_interrupted(
    start: Start, tmp_path: Path, number: signal.Signals, how: str
) -> None:
    env = waiting(tmp_path, "import", how=how)
    host = start(plugin=WAITING, listen=("unix",), env=env, ready=False)
    until_it_waits(tmp_path)
    host.signal(number)
    assert host.wait() == 0
    assert host.events("listening") == []


@pytest.mark.timing
@pytest.mark.parametrize("where", ["import", "on_host_start"])
def test_a_plugin_that_catches_what_interrupts_it_is_cut_short(
    start: Start, tmp_path: Path, where: str
) -> None:
    settings = {"lifecycle.drain_timeout_seconds": 0}
    env = waiting(tmp_path, where, how="ever")
    host = start(plugin=WAITING, settings=settings, env=env, ready=False)
    until_it_waits(tmp_path)
    watch = Stopwatch()
    host.signal(SIGTERM)
    assert host.wait() == 9
    assert 0.9 <= watch.seconds <= watch.scaled(1.5)
    assert host.events("host_stopped")[-1]["code"] == 9


def test_settings_that_nobody_writes_are_not_waited_for(start: Start, tmp_path: Path) -> None:
    pipe = tmp_path / "settings.toml"
    os.mkfifo(pipe)
    host = start("--config", str(pipe), ready=False)
    early(host)
    eventually(lambda: SIGUSR1 not in blocked_signals(host.pid), "signals are noted")
    host.signal(SIGTERM)
    assert host.wait() == 0


@pytest.mark.parametrize("number", STOPPING)
def test_a_plugin_that_loops_in_on_host_start_is_interrupted(
    start: Start, number: signal.Signals
) -> None:
    settings = {"options.faulty.hook": "on_host_start", "options.faulty.how": "hang"}
    host = start(plugin=FAULTY, listen=("unix", "tcp4"), settings=settings, ready=False)
    host.wait_for("listening", count=2)
    host.signal(number)
    assert host.wait() == 0
    assert host.events("host_stopping_now")[-1]["cause"] == number.name
    assert host.events("hook_failed") == host.events("worker_started") == []


@pytest.mark.parametrize("where", ["import", "on_host_start"])
def test_a_stop_amid_a_reload_is_a_stop_of_the_workers_that_there_are(
    start: Start, tmp_path: Path, where: str
) -> None:
    host = start(plugin=WAITING, env={"WAITING": str(tmp_path)})
    with connect(host.address) as session:
        ask(session)
        waiting(tmp_path, where, host.pid)
        host.signal(SIGHUP)
        until_it_waits(tmp_path)
        host.signal(SIGTERM)
        host.wait_for("host_stopping")
        ask(session)
        session.shutdown(socket.SHUT_WR)
        assert session.recv(1) == b""
    assert host.wait() == 0


def test_what_was_blocked_and_ignored_before_makes_no_difference(start: Start) -> None:
    numbers = [*SIGNALS, signal.SIGALRM, signal.SIGRTMAX - 1]  # the last prints the stacks
    ignored = [number for number in SIGNALS if number not in (SIGHUP, SIGCHLD)]
    host = start(blocked=numbers, ignored=[*ignored, SIGCHLD])
    host.kill_worker(0)
    replaced = host.wait_for("worker_ready", slot=0, count=2)
    assert blocked_signals(replaced["pid"]) & {*numbers} == BLOCKED
    host.kill_worker(1, SIGTERM)
    host.wait_for("worker_recycled", slot=1)
    host.signal(SIGTTIN)
    host.wait_for("worker_ready", slot=2)
    host.signal(SIGHUP)
    host.wait_for("generation_ready", generation=1)
    host.signal(SIGINT)
    assert host.wait() == 0


def test_the_hangup_that_nohup_ignores_does_not_reload(start: Start) -> None:
    name = fresh_name()
    host = start("--name", name, ignored=[SIGHUP])
    for generation in (1, 2):  # also after an exec
        host.signal(SIGHUP)
        query(name, "reload")
        host.wait_for("generation_ready", generation=generation)
    assert {each["cause"] for each in host.events("host_reloading")} == {"a command"}
    assert host.stop() == 0


def test_signals_that_come_as_the_host_ends_do_not_change_its_exit_code(start: Start) -> None:
    for expected in (0, 9):
        settings = {"lifecycle.drain_timeout_seconds": 0.2 if expected else 20}
        host = start(settings=settings, workers=1)
        with connect(host.address) as session:
            ask(session)
            if expected == 0:
                session.shutdown(socket.SHUT_WR)
                assert session.recv(1) == b""
            watch = Watch(host.pid)
            while not watch.ended():
                host.signal(SIGTERM)
            watch.close()
            assert host.wait() == expected


def interrupted_twice(start: Start, number: signal.Signals) -> Host | None:
    """Return a host that was interrupted twice at once and stops; None if that took too long."""
    host = start()
    with connect(host.address) as session:
        ask(session)
        watch = Stopwatch()
        host.signal(number)
        host.wait_for("host_stopping")
        host.signal(SIGINT)
        if watch.seconds > 0.4:  # that is an interrupt of its own soon
            return None
        ask(session)
        ask(session)
        session.shutdown(socket.SHUT_WR)
        assert session.recv(1) == b""
    return host


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
def test_one_interrupt_may_come_twice(start: Start, number: signal.Signals) -> None:
    hosts = (interrupted_twice(start, number) for _ in range(10))
    host = next(host for host in hosts if host is not None)
    assert host.wait() == 0
    assert host.events("host_stopping_now") == []


def test_a_process_that_a_plugin_forks_keeps_its_signals_to_itself(start: Start) -> None:
    host = start(plugin=FORKING)
    # What the first worker was sent at its birth is its own.
    assert host.wait_for("worker_recycled")["slot"] == 0
    with connect(host.address) as client, connect(host.address) as other:
        for sock in (client, other, client):
            sock.sendall(b"0\n")
            pid = int(sock.recv(100))
            os.kill(pid, SIGTERM)
            sock.sendall(b"%d\n" % pid)
            assert int(sock.recv(100)) == -SIGTERM
    assert len(host.events("worker_recycled")) == 1
    assert host.stop() == 0


def test_a_thread_of_a_plugin_keeps_no_host_from_ending(start: Start, tmp_path: Path) -> None:
    plugin = tmp_path / "threaded.py"
    plugin.write_text(
        "import atexit, pathlib, threading\n"
        "from host import hookimpl\n"
        "@hookimpl\n"
        "def on_readable(connection): connection.write(connection.read())\n"
        "@hookimpl\n"
        "def on_host_start(): threading.Thread(target=threading.Event().wait).start()\n"
        f"atexit.register(pathlib.Path('{tmp_path}/ended').touch)\n"
    )
    host = start(plugin=str(plugin))
    assert host.stop() == 0
    assert (tmp_path / "ended").exists()


def test_nothing_is_left_of_a_host_that_is_stopped_while_it_forks(start: Start) -> None:
    host = start(workers=8, ready=False)
    eventually(lambda: len(children(host.pid)) > 0, "a worker is forked")
    os.killpg(host.pid, SIGINT)
    assert host.wait() == 0
    assert of_session(host.pid) == []
