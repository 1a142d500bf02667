"""Workers that have served enough are replaced, and nobody notices."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from host.testing.machine import Stopwatch
from support.address import connect
from support.asking import RefusedError, fresh_name, query
from support.hosting import Host, Load, Start, eventually
from support.session import ask

pytestmark = [pytest.mark.process, pytest.mark.warm]

MIB = 1024 * 1024
LOOK_SECONDS = 2.1
"""Workers are looked at once a second, or a little later."""
HOARDER = """
from host import hookimpl

kept = []


@hookimpl
def on_readable(connection):
    *words, rest = ((connection.data or b"") + connection.read()).split(b"\\n")
    connection.data = rest
    worker = connection.worker
    for word in words:
        if word == b"more":
            kept.append(b"x" * (100 * 1024 * 1024))
        connection.write(b"%d %d 0 %s\\n" % (worker.slot, worker.pid, word))
"""


def in_order(host: Host, slot: int, since: int) -> list[str]:
    """Return what the host has told of a slot, in the order in which it did."""
    return [event["event"] for event in host.events(since=since) if event.get("slot") == slot]


REPLACEMENT = ["worker_recycled", "worker_ready", "worker_exited"]


def test_a_worker_that_has_served_so_many_connections_is_replaced(start: Start, load: Load) -> None:
    host = start(workers=1, settings={"lifecycle.max_connections_served": 20})
    mark = host.mark()
    with connect(host.address) as session:
        slot, old, _ = ask(session)
        assert load.burst(host.address, 18)["failures"] == {}
        assert not host.events("worker_recycled")
        assert load.burst(host.address, 5, group="more")["failures"] == {}
        recycled = host.wait_for("worker_recycled")
        assert (recycled["slot"], recycled["pid"]) == (slot, old)
        assert re.fullmatch(
            r"it has served 2[0-4] connections \(max_connections_served\)", recycled["cause"]
        )
        fresh = host.wait_for("worker_ready", since=mark)
        assert fresh["pid"] != old
        load.close(group="more")
        load.close()
        with connect(host.address) as newcomer:
            assert ask(newcomer)[:2] == [slot, fresh["pid"]]
        for _ in range(20):
            assert ask(session)[1] == old
        assert not host.events("worker_exited")
    assert host.wait_for("worker_exited")["pid"] == old
    assert in_order(host, slot, mark) == REPLACEMENT
    assert host.events("worker_exited")[0]["cause"] == "exit code 0"
    assert not host.events("worker_died")


@pytest.mark.timing
def test_a_worker_that_is_so_old_is_replaced(start: Start) -> None:
    host = start(workers=1, settings={"lifecycle.max_age_seconds": 1.5})
    mark, watch = host.mark(), Stopwatch()
    with connect(host.address) as session:
        slot, old, _ = ask(session)
        recycled = host.wait_for("worker_recycled")
        assert (recycled["slot"], recycled["pid"]) == (slot, old)
        assert re.fullmatch(r"it is \d s old \(max_age_seconds\)", recycled["cause"])
        fresh = host.wait_for("worker_ready", since=mark)["pid"]
        with connect(host.address) as newcomer:
            assert ask(newcomer)[1] == fresh
        assert ask(session)[1] == old
    ended = host.wait_for("worker_exited", pid=old)
    # A tenth by chance, and one look a second.
    assert 1.5 <= ended["age_seconds"] <= 1.5 * 1.1 + 1.0 + watch.scaled(0.5)
    assert in_order(host, slot, mark)[:3] == REPLACEMENT


def test_a_worker_that_takes_so_much_memory_is_replaced(start: Start, tmp_path: Path) -> None:
    (tmp_path / "hoarder.py").write_text(HOARDER)
    host = start(
        plugin="./hoarder.py", workers=2, settings={"lifecycle.max_memory_bytes": 100 * MIB}
    )
    mark = host.mark()
    with connect(host.address) as session:
        slot, old, _ = ask(session, b"more")
        recycled = host.wait_for("worker_recycled")
        assert (recycled["slot"], recycled["pid"]) == (slot, old)
        assert re.fullmatch(r"it takes 1\d\d MiB of memory \(max_memory_bytes\)", recycled["cause"])
        host.wait_for("worker_ready", slot=slot, since=mark)
        assert ask(session)[1] == old
    host.wait_for("worker_exited", pid=old)
    assert in_order(host, slot, mark) == REPLACEMENT
    assert in_order(host, 1 - slot, mark) == []


def test_what_is_open_is_cut_only_at_the_drain_deadline(start: Start, load: Load) -> None:
    settings = {
        "lifecycle.max_connections_served": 10,
        "lifecycle.drain_timeout_seconds": 0.5,
    }
    host = start(workers=1, settings=settings)
    with connect(host.address) as session:
        _, old, _ = ask(session)
        assert load.burst(host.address, 15)["failures"] == {}
        host.wait_for("worker_recycled", pid=old)
        assert session.recv(1) == b""
    assert host.wait_for("connections_cut")["count"] >= 10
    assert host.wait_for("worker_exited", pid=old)["cause"].startswith("exit code 9")
    with connect(host.address) as newcomer:
        assert ask(newcomer)[1] != old


CAUSES: dict[str, dict[str, Any]] = {
    "max_connections_served": {"lifecycle.max_connections_served": 200},
    "max_age_seconds": {"lifecycle.max_age_seconds": 0.8},
}


@pytest.mark.parametrize("cause", CAUSES)
def test_no_connection_fails_while_workers_are_replaced(
    start: Start, load: Load, cause: str
) -> None:
    host = start(workers=2, settings=CAUSES[cause])
    mark = host.mark()
    load.begin("churn", address=host.address, clients=4, patience=5.0, announce=100)
    assert load.answer() == {"under_way": True}
    host.wait_for("worker_exited", since=mark, count=2)
    host.signal(signal.SIGTERM)
    assert host.wait() == 0
    result = load.answer()
    print(result)
    assert result["failures"] == {}
    assert not host.events("worker_died")
    assert not host.events("connections_cut")
    assert all(cause in event["cause"] for event in host.events("worker_recycled"))


def test_workers_that_were_started_together_are_not_all_replaced_at_once(
    start: Start, load: Load
) -> None:
    """Each may have up to a tenth more, by chance: half of it is enough for about half of them."""
    name, workers = fresh_name(), 16
    host = start("--name", name, workers=workers, settings={"lifecycle.max_connections_served": 40})

    def serve(each: int) -> int:
        """Have every slot serve so many; return how many workers are found to be worn out."""
        for _ in range(each):
            assert load.burst(host.address, workers)["failures"] == {}
            load.close()
        looked = query(name, "status")["uptime_seconds"] + LOOK_SECONDS
        eventually(lambda: query(name, "status")["uptime_seconds"] > looked, "it has looked again")
        return len(host.events("worker_recycled"))

    assert 0 < serve(42) < workers
    assert serve(3) == workers
    assert host.wait_for("worker_exited", count=workers)


def test_a_worker_is_replaced_on_command(start: Start) -> None:
    name = fresh_name()
    host = start("--name", name, workers=1)
    with connect(host.address) as session:
        _, old, _ = ask(session)
        mark = host.mark()
        assert query(name, "drain", slot=0) == {"slot": 0, "pid": old}
        fresh = host.wait_for("worker_ready", slot=0, since=mark)["pid"]
        assert host.wait_for("worker_recycled")["cause"] == "a command"
        with connect(host.address) as newcomer:
            assert ask(newcomer)[1] == fresh
        assert ask(session)[1] == old
        with pytest.raises(RefusedError, match="no worker serves in slot 7"):
            query(name, "drain", slot=7)
    assert host.wait_for("worker_exited")["pid"] == old
