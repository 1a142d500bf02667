"""A service manager is told all that it waits for, and keeps the sockets of a host that crashes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.address import connect
from support.asking import fresh_name, query
from support.hosting import Host, Refuse, Start, eventually
from support.processes import of_session
from support.service_manager import FakeManager
from support.session import ask

pytestmark = pytest.mark.process

STATES = ("READY=", "RELOADING=", "STOPPING=")


@pytest.fixture(params=["path", "abstract"])
def either(request: pytest.FixtureRequest, tmp_path: Path, start: Start) -> Iterator[FakeManager]:
    """A service manager, with each kind of address."""
    made = FakeManager(tmp_path, start, abstract=request.param == "abstract")
    yield made
    made.close()


def microseconds() -> int:
    return time.monotonic_ns() // 1000


def value(lines: list[str], name: str) -> str:
    (found,) = [line for line in lines if line.startswith(f"{name}=")]
    return found.partition("=")[2]


def write(path: Path, *lines: str) -> list[str]:
    """Write a settings file; return the flags for it."""
    path.write_text("\n".join(lines))
    return ["--config", str(path)]


def crash(host: Host) -> None:
    """Kill the supervisor, and wait until no process of it is left."""
    host.signal(signal.SIGKILL)
    assert host.wait() == -signal.SIGKILL
    eventually(lambda: not of_session(host.pid), "all workers end with the supervisor")


def test_a_whole_life_is_told(either: FakeManager) -> None:
    limits = {"lifecycle.drain_timeout_seconds": 20, "lifecycle.shutdown_delay_seconds": 0.2}
    host = either.start("--listen", "tcp://127.0.0.1:0", settings=limits)
    ready = either.wait_for("READY=1")
    assert value(either.messages[ready], "STATUS") == "serving: 2 of 2 workers, generation 0"
    assert list(either.store) == ["prefork=tcp%3A//127.0.0.1%3A0"]

    before = microseconds()
    host.signal(signal.SIGHUP)
    reloading = either.wait_for("RELOADING=1")
    told = int(value(either.messages[reloading], "MONOTONIC_USEC"))
    assert before <= told <= microseconds()
    host.wait_for("generation_ready")
    ready = either.wait_for("READY=1", after=reloading)
    assert value(either.messages[ready], "STATUS") == "serving: 2 of 2 workers, generation 1"

    host.signal(signal.SIGTERM)
    stopping = either.messages[either.wait_for("STOPPING=1")]
    assert 20_200_000 <= int(value(stopping, "EXTEND_TIMEOUT_USEC")) <= 30_000_000
    assert host.wait() == 0
    assert either.heard(*STATES) == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]
    assert either.store == {}


def test_a_reload_that_is_refused_is_over(manager: FakeManager, tmp_path: Path) -> None:
    flags = write(tmp_path / "host.toml", 'listen = ["tcp://127.0.0.1:0"]')
    host = manager.start(*flags, "--name", fresh_name())
    write(tmp_path / "host.toml", 'listen = ["tcp://127.0.0.1:0"]', "wrokers = 2")
    host.signal(signal.SIGHUP)
    failed = manager.wait_for("READY=1", after=manager.wait_for("RELOADING=1"))
    status = value(manager.messages[failed], "STATUS")
    assert status.startswith("serving: 2 of 2 workers, generation 0; reload failed: ")
    assert "wrokers" in status
    host.wait_for("reload_failed")
    # The next one may go well, and nothing is left of the words.
    write(tmp_path / "host.toml", 'listen = ["tcp://127.0.0.1:0"]')
    host.signal(signal.SIGHUP)
    manager.wait_for("STATUS=serving: 2 of 2 workers, generation 1", after=failed)


FAILING = """
from host import hookimpl

@hookimpl
def on_readable(connection):
    connection.read()

@hookimpl
def on_worker_start(worker):
    if {fails}:
        raise RuntimeError("no database")
"""


def test_a_generation_that_cannot_start_is_told_and_the_reload_over(
    manager: FakeManager, tmp_path: Path
) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(FAILING.format(fails=False))
    host = manager.start("--listen", "tcp://127.0.0.1:0", plugin=str(plugin))
    plugin.write_text(FAILING.format(fails=True))
    host.signal(signal.SIGHUP)
    failed = manager.wait_for("READY=1", after=manager.wait_for("RELOADING=1"))
    status = value(manager.messages[failed], "STATUS")
    assert status.startswith("serving: 2 of 2 workers, generation 0; generation 1 cannot start: ")
    plugin.write_text(FAILING.format(fails=False))
    host.signal(signal.SIGHUP)
    manager.wait_for("STATUS=serving: 2 of 2 workers, generation 2", after=failed)


def test_a_start_that_fails_is_told_with_its_cause_and_never_ready(
    manager: FakeManager, start: Start, tmp_path: Path
) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(FAILING.format(fails=True))
    host = manager.start("--listen", "tcp://127.0.0.1:0", plugin=str(plugin), ready=False)
    assert host.wait() == 6
    (words,) = manager.heard("STATUS=")
    assert words.startswith("STATUS=starting: 0 of 2 workers ready; worker ")
    assert "failed to start: " in words
    assert "no database" in words
    assert manager.heard(*STATES) == []


def test_settings_that_are_wrong_are_told(manager: FakeManager, refuse: Refuse) -> None:
    refusal = refuse("--workers", "none", env=manager.environment)
    assert refusal.code == 3
    (words,) = manager.heard("")
    assert words.startswith("STATUS=cannot start: ")
    assert "workers" in words


def test_the_watchdog_is_fed_at_half_its_interval_also_over_a_reload(manager: FakeManager) -> None:
    manager.watch(0.5)
    host = manager.start("--listen", "tcp://127.0.0.1:0")
    assert host.wait_for("watchdog_short")["seconds"] == 0.5
    host.signal(signal.SIGHUP)
    generation = manager.wait_for("READY=1", after=manager.wait_for("RELOADING=1"))
    for _ in range(3):
        generation = manager.wait_for("WATCHDOG=1", after=generation) + 1
    assert len(host.events("watchdog_short")) == 1


def test_what_is_not_taken_is_sent_again_also_after_an_exec(manager: FakeManager) -> None:
    manager.overfill()
    host = manager.start("--listen", "tcp://127.0.0.1:0")
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready")
    assert not host.events("manager_not_told")
    last = manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1", after=last)
    assert manager.heard(*STATES) == ["READY=1", "RELOADING=1", "READY=1"]
    eventually(lambda: bool(manager.hear() or manager.store), "the socket is stored")


def test_a_service_manager_that_is_gone_is_told_once(
    manager: FakeManager, start: Start, tmp_path: Path
) -> None:
    host = start(env={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    told = host.wait_for("manager_not_told")
    assert (told["address"], told["cause"]) == (
        str(tmp_path / "nobody"),
        "No such file or directory",
    )
    assert host.stop() == 0
    assert len(host.events("manager_not_told")) == 1


def test_after_a_crash_the_next_host_serves_who_has_waited(
    manager: FakeManager, tmp_path: Path
) -> None:
    name, path = fresh_name(), tmp_path / "own.sock"
    flags = ["--listen", "tcp://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0"]
    flags += ["--listen", f"unix:{path}", "--name", name]
    host = manager.start(*flags)
    manager.wait_for("READY=1")
    addresses = host.addresses
    crash(host)
    waiting = [connect(address) for address in addresses]
    inode = os.stat(path).st_ino

    again = manager.start(*flags)
    assert sorted(again.addresses) == sorted(addresses)
    assert os.stat(path).st_ino == inode
    for client in waiting:
        with client:
            ask(client)
    listeners = query(name, "status")["listeners"]
    assert [each["source"] for each in listeners] == ["stored"] * 3
    assert len(manager.store) == 3
    assert again.stop() == 0
    assert not path.exists()


def test_after_a_crash_during_a_stop_the_next_host_takes_connections(
    manager: FakeManager,
) -> None:
    """Its gate is shut, and the service manager has not been told that it need not keep it."""
    host = manager.start("--listen", "tcp://127.0.0.1:0")
    manager.wait_for("READY=1")
    with connect(host.address) as open_one:
        ask(open_one)
        manager.overfill()
        host.signal(signal.SIGTERM)
        host.wait_for("worker_exited")  # the other one: the listener is closed
        crash(host)
    again = manager.start("--listen", "tcp://127.0.0.1:0")
    assert again.addresses == host.addresses
    with connect(again.address) as client:
        ask(client)


def test_a_stored_socket_whose_file_is_gone_is_replaced(
    manager: FakeManager, tmp_path: Path
) -> None:
    path = tmp_path / "own.sock"
    host = manager.start("--listen", f"unix:{path}")
    manager.wait_for("READY=1")
    first = os.fstat(next(iter(manager.store.values())).fileno()).st_ino
    crash(host)
    path.unlink()
    again = manager.start("--listen", f"unix:{path}")
    manager.wait_for("READY=1", after=manager.wait_for("FDSTOREREMOVE=1"))
    (stored,) = manager.store.values()
    assert os.fstat(stored.fileno()).st_ino != first
    with connect(again.address) as client:
        ask(client)


def test_after_a_crash_the_settings_may_be_others(manager: FakeManager, tmp_path: Path) -> None:
    """What was stored would be in the way: it is removed before the new address is bound."""
    host = manager.start("--listen", "tcp://127.0.0.1:0")
    port = host.port
    manager.wait_for("READY=1")
    crash(host)
    write(tmp_path / "host.toml", f'listen = ["tcp://127.0.0.1:{port}"]')
    again = manager.start("--config", str(tmp_path / "host.toml"), ready=False)
    manager.wait_for("BARRIER=1")
    again.wait_for("host_ready")
    manager.wait_for("READY=1", after=manager.wait_for("BARRIER=1"))
    assert list(manager.store) == [f"prefork=tcp%3A//127.0.0.1%3A{port}"]
    with connect(again.address) as client:
        ask(client)
    crash(again)
    third = manager.start("--listen", f"tcp://*:{port}", ready=False)
    manager.wait_for("BARRIER=1", after=len(manager.messages))
    third.wait_for("host_ready")
    assert third.addresses == [f"tcp://0.0.0.0:{port}"]


def test_the_store_has_what_is_listened_on_after_each_reload(
    manager: FakeManager, tmp_path: Path
) -> None:
    def listening(*names: str) -> list[str]:
        listen = [f"unix:{tmp_path}/{name}.sock" for name in names]
        return write(tmp_path / "host.toml", f"listen = {listen}".replace("'", '"'))

    def stored() -> list[str]:
        manager.hear()
        return sorted(name.rpartition("/")[2] for name in manager.store)

    host = manager.start(*listening("a", "b"), "--name", fresh_name())
    eventually(lambda: stored() == ["a.sock", "b.sock"], "both are stored")
    listening("b", "c")
    host.signal(signal.SIGHUP)
    host.wait_for("generation_ready")
    eventually(lambda: stored() == ["b.sock", "c.sock"], "a is not kept any more, and c is")
    assert len(manager.heard("FDSTORE=1")) == 3
    assert host.stop() == 0
    assert stored() == []
