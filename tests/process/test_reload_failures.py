"""What loads in the rehearsal and fails afterwards: the host goes on with all of its settings."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from host.testing.machine import patience
from support.address import connect
from support.asking import fresh_name, query
from support.hosting import DEADLINE_SECONDS, Host, Start, eventually
from support.late_failures import LATE, LateFailure
from support.processes import Watch, children
from support.session import answerer, ask

pytestmark = [pytest.mark.process, pytest.mark.warm]

REAPER = """
import os, threading

def reap():
    while True:
        try:
            os.waitpid(-1, 0)
        except OSError:
            pass

if {where}:
    threading.Thread(target=reap, daemon=True).start()
"""
"""Takes the exit codes of the supervisor's children."""


HANGS_AT_START = """
from host import hookimpl

@hookimpl
def on_worker_start():
    while True:
        pass
"""

GOES_AWAY = """
import os

TOKEN = os.environ.pop("TOKEN")
os.environ["LEFT_BEHIND"] = "1"
os.chdir("/")
"""
"""Does what programs do that have read what they need, where only the supervisor does it again."""


@pytest.fixture
def plugin(tmp_path: Path) -> Callable[..., str]:
    """Write the plugin: an answerer with other code before it; return its path."""

    def write(code: str = "") -> str:
        path = tmp_path / "answerer.py"
        path.write_text(code + answerer())
        return str(path)

    return write


def reload_fails(host: Host) -> str:
    """Reload; return why the new generation does not start."""
    mark = host.mark()
    host.signal(signal.SIGHUP)
    failed = host.wait_for("generation_failed", since=mark)
    return str(failed["reason"] + failed["details"])


@pytest.mark.slow
def test_workers_that_hang_at_start_fail_the_reload(
    start: Start, plugin: Callable[..., str]
) -> None:
    settings = {"lifecycle.start_timeout_seconds": patience(3)}
    host = start(plugin=plugin(), workers=1, settings=settings)
    with connect(host.address) as session:
        pid = ask(session)[1]
        plugin(HANGS_AT_START)
        assert reload_fails(host).startswith(
            "not ready in time (start_timeout_seconds), in hook on_worker_start of plugin answerer"
        )
        assert ask(session)[1] == pid
        plugin()
        mark = host.mark()
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready", since=mark)
    # One that was started again is not waited for until the drain deadline.
    eventually(lambda: len(children(host.pid)) == 1, "those that hang are gone")


@pytest.mark.parametrize("how", LATE)
def test_the_host_goes_on_as_it_was_set_up(
    start: Start, plugin: Callable[..., str], how: str
) -> None:
    failure = LATE[how]
    name, limits = fresh_name(), {"limits.max_connections_per_worker": 2}
    if how == "hangs":
        limits["lifecycle.start_timeout_seconds"] = patience(3)
    host = start("--name", name, plugin=plugin(), workers=1, settings=limits)
    with connect(host.address) as session, connect(host.address) as other:
        pid = ask(session)[1]
        plugin(failure.code(host.pid))
        assert failure.phrase in reload_fails(host)
        found = query(name, "status")
        assert failure.phrase in found["last_reload"]["reason"]
        assert (found["state"], found["ready"], found["workers_wanted"]) == ("serving", True, 1)
        assert [each["pid"] for each in found["workers"]] == [pid]
        assert ask(session)[1] == ask(other)[1] == pid
        with connect(host.address) as third:  # there is room for two
            third.sendall(b"hello\n")
            eventually(lambda: waiting(name) == 1, "the third connection waits")
            other.close()
            assert third.recv(100).split()[1] == str(pid).encode()
        plugin()
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready", generation=2)
        assert ask(session)[1] == pid
        with connect(host.address) as third:
            assert ask(third)[1] != pid


def waiting(name: str) -> int:
    """Return how many connections wait."""
    return int(query(name, "status")["listeners"][0]["waiting"])


def test_a_stop_has_its_own_deadline_also_after_a_reload_that_failed(
    start: Start, plugin: Callable[..., str]
) -> None:
    host = start(plugin=plugin(), workers=1, settings={"lifecycle.drain_timeout_seconds": 0.5})
    with connect(host.address) as session:
        ask(session)
        plugin(LateFailure("raise ValueError").code(host.pid))
        reload_fails(host)
        host.signal(signal.SIGTERM)
        assert host.wait() == 9  # well before the 30 s that are the default
        assert session.recv(1) == b""


@pytest.mark.parametrize("when", ["first", "second"])
def test_a_rehearsal_ends_with_its_supervisor(
    start: Start, plugin: Callable[..., str], tmp_path: Path, when: str
) -> None:
    host = start(plugin=plugin(), workers=1)
    there = tmp_path / "there"
    code = f"open({str(there)!r}, 'w').close(); import time; time.sleep(60)\n"
    plugin(code if when == "first" else LateFailure(code).code(host.pid))
    host.signal(signal.SIGHUP)
    eventually(there.exists, "the plugin is being imported")
    own = [one.pid for child in children(host.pid) for one in (child, *children(child.pid))]
    watches = [Watch(pid) for pid in own]
    host.signal(signal.SIGKILL)
    assert all(watch.ended(patience(DEADLINE_SECONDS)) for watch in watches)
    for watch in watches:
        watch.close()
    host.wait()


def test_a_plugin_that_takes_exit_codes_stops_neither_replacements_nor_reloads(
    start: Start, plugin: Callable[..., str]
) -> None:
    host = start(plugin=plugin(), workers=1)
    plugin(REAPER.format(where=f"os.getpid() == {host.pid}"))
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready", generation=1)
    taken = False
    while not taken:  # the host may have been the faster one
        mark = host.mark()
        os.kill(host.workers[0], signal.SIGKILL)
        died = host.wait_for("worker_died", since=mark, slot=0)
        taken = "a plugin has taken its exit code" in died["cause"]
        host.wait_for("worker_ready", since=mark, slot=0)
    plugin()
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready", generation=2)
    host.signal(signal.SIGTERM)
    assert host.wait() == 0


def test_a_host_whose_exit_codes_are_taken_stops(start: Start, plugin: Callable[..., str]) -> None:
    host = start(plugin=plugin(REAPER.format(where="True")), workers=1)
    host.signal(signal.SIGTERM)
    assert host.wait() in (0, 9)  # the host may have been the faster one


def test_a_reload_begins_where_the_host_was_started_whatever_plugins_have_changed(
    start: Start, plugin: Callable[..., str], tmp_path: Path
) -> None:
    name = plugin(GOES_AWAY)
    (tmp_path / "host.toml").write_text(f'plugins = ["./{Path(name).name}"]\n')
    host = start("--config", "host.toml", plugin=None, workers=1, env={"TOKEN": "secret"})
    for generation in (1, 2):
        host.signal(signal.SIGHUP)
        host.wait_for("generation_ready", generation=generation)
    plugin("import os\nassert 'LEFT_BEHIND' not in os.environ\n")
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready", generation=3)
    assert host.stop() == 0


def test_a_start_may_take_longer_than_the_kernel_can_wait(
    start: Start, plugin: Callable[..., str]
) -> None:
    host = start(*("--set", "lifecycle.start_timeout_seconds=1e10"), plugin=plugin(), workers=1)
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready")
    assert host.stop() == 0
