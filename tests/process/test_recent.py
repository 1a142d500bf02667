"""The last events of a worker outlive it, and are told when it dies, hangs, and to who asks."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from support.address import connect
from support.asking import fresh_name, query
from support.hosting import Start, eventually, freeze
from support.scraping import get
from support.session import ask

pytestmark = [pytest.mark.process, pytest.mark.warm]


def test_what_a_worker_did_is_told_when_it_is_killed_and_after_that(start: Start) -> None:
    name = fresh_name()
    host = start("--name", name, "--ops", "tcp://127.0.0.1:0", workers=1)
    pid, mark = host.workers[0], host.mark()
    with connect(host.address) as session:
        ask(session)
        os.kill(pid, signal.SIGKILL)
        died = host.wait_for("worker_died", since=mark)
    head, started, accepted = died["recent"].splitlines()
    assert head == "its last events:"
    assert started.endswith(" s before: started")
    assert accepted.endswith(f" s before: connection {pid}-1 accepted on {host.address}")
    successor = host.wait_for("worker_ready", since=mark)["pid"]
    told = query(name, "recent", slot=0)["events"]
    assert [(each["pid"], each["event"]) for each in told] == [
        (pid, "started"),
        (pid, "accepted"),
        (successor, "started"),
    ]
    (listening,) = host.events("ops_listening")
    shown = json.loads(get(listening["address"], "/recent.json").text)["events"]
    assert [each["text"] for each in shown] == [each["text"] for each in told]


def test_what_a_worker_did_is_told_when_it_hangs(start: Start) -> None:
    settings = {"lifecycle.hang_seconds": 2}
    host = start(settings=settings, workers=1, patient=False)
    pid, mark = host.workers[0], host.mark()
    with connect(host.address) as session:
        ask(session)
    freeze(pid)
    hung = host.wait_for("worker_hung", since=mark)
    assert f"connection {pid}-1 accepted" in hung["recent"]
    assert host.wait_for("worker_died", since=mark)["recent"] == ""


def test_events_go_over_a_reload_with_the_workers_that_drain(start: Start) -> None:
    name = fresh_name()
    host = start("--name", name, workers=1)
    pid, mark = host.workers[0], host.mark()
    with connect(host.address) as session:
        ask(session)
        os.kill(host.pid, signal.SIGHUP)
        host.wait_for("generation_ready", since=mark)

        def told() -> list[tuple[int, str]]:
            return [(each["pid"], each["event"]) for each in query(name, "recent")["events"]]

        eventually(lambda: (pid, "draining") in told(), "the old worker drains")
        assert told()[:2] == [(pid, "started"), (pid, "accepted")]
        ask(session)


SLOW = """
import time

from host import hookimpl


@hookimpl
def on_readable(connection):
    data = connection.read()
    if data == b"slow":
        time.sleep(0.05)
        connection.worker.call_later(0, lambda: time.sleep(0.05))
    connection.write(data)
"""


@pytest.mark.parametrize(
    ("flags", "with_callbacks"),
    [(["--ops", "tcp://127.0.0.1:0", "--set", "metrics.sample=1"], False), ([], True)],
)
def test_calls_that_were_measured_and_slow_are_told(
    start: Start, tmp_path: Path, flags: list[str], with_callbacks: bool
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    name = fresh_name()
    more = ["--profile", str(tmp_path / "profile")] if with_callbacks else []
    host = start(
        *("--name", name, *flags, *more),
        plugin=f"{tmp_path}/slow.py",
        workers=1,
        settings={"breaker.slow_call_ms": 20},
    )
    with connect(host.address) as client:
        client.sendall(b"slow")
        assert client.recv(100) == b"slow"

        def told() -> set[str]:
            events = query(name, "recent")["events"]
            return {each["text"] for each in events if each["event"] == "slow"}

        expected = {"on_readable of plugin slow took too long"}
        if with_callbacks:
            expected.add("a callback took too long")
        eventually(lambda: expected <= told(), "the slow calls are told")
    assert host.stop() == 0
    host.other_output.clear()  # what was measured


def test_a_slow_turn_is_told_with_its_last_call_where_the_call_was_not_measured(
    start: Start, tmp_path: Path
) -> None:
    callback = "        connection.worker.call_later(0, lambda: time.sleep(0.05))\n"
    (tmp_path / "slow.py").write_text(SLOW.replace(callback, ""))
    host = start(
        *("--name", fresh_name(), "--ops", "tcp://127.0.0.1:0"),
        plugin=f"{tmp_path}/slow.py",
        workers=1,
        settings={"breaker.slow_call_ms": 20},
    )
    (began,), (worker,) = host.events("host_starting"), host.events("worker_ready")
    with connect(host.address) as client:
        for _ in range(3):  # one of them may be measured: that is told as a slow call
            client.sendall(b"slow")
            assert client.recv(100) == b"slow"
        text = (
            "a turn of the loop took too long; the last call in it was on_readable for connection"
        )

        def told() -> set[str]:
            events = query(began["name"], "recent")["events"]
            return {each["text"] for each in events if each["event"] == "slow_turn"}

        eventually(lambda: f"{text} {worker['pid']}-1" in told(), "a slow turn is told")
