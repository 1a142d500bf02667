"""A first start that fails ends the host, says why once, and leaves nothing."""

from __future__ import annotations

import os
import signal

import pytest

from host.testing.machine import Stopwatch
from support.address import connect
from support.hosting import CROWDED, FAULTY, Host, Start
from support.processes import of_session

pytestmark = pytest.mark.process


def fail_to_start(start: Start, how: str, hook: str = "on_worker_start", **others: object) -> Host:
    settings = {"options.faulty.hook": hook, "options.faulty.how": how}
    settings |= others.pop("settings", {})  # type: ignore[arg-type]
    return start(
        plugin=FAULTY,
        settings=settings,
        listen=("tcp4", "unix"),
        workers=3,
        ready=False,
        **others,
    )


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("raise", "hook on_worker_start of plugin faulty raised RuntimeError: misbehaving"),
        ("exit", "hook on_worker_start of plugin faulty raised SystemExit: 3"),
        ("os_exit", "exit code 3 before it was ready"),
        ("abort", "killed by SIGABRT before it was ready"),
        ("kill", "killed by SIGKILL before it was ready"),
    ],
)
def test_workers_that_fail_at_first_start_stop_the_host(start: Start, how: str, cause: str) -> None:
    host = fail_to_start(start, how)
    assert host.wait() == 6
    failed = host.events("worker_start_failed")
    assert len(failed) == 1, "the reason is said once"
    assert cause in failed[0]["cause"]
    if how == "raise":
        assert "faulty.py" in failed[0]["traceback"]
    assert host.events("worker_ready") == []
    assert host.events("host_stopped")[-1]["code"] == 6


@pytest.mark.timing
def test_a_worker_that_hangs_at_first_start_stops_the_host(start: Start) -> None:
    watch = Stopwatch()
    host = fail_to_start(start, "hang", settings={"lifecycle.start_timeout_seconds": 0.5})
    assert host.wait() == 6
    assert 0.5 <= watch.seconds <= 0.5 + watch.scaled(3.5)
    killed = host.events("worker_killed")
    assert killed
    assert "start_timeout_seconds" in killed[0]["cause"]


def test_one_worker_of_many_that_cannot_start_is_enough(start: Start) -> None:
    host = start(
        plugin=FAULTY,
        settings={"options.faulty.hook": "on_worker_start", "options.faulty.how": "os_exit"},
        workers=8,
        ready=False,
    )
    assert host.wait() == 6
    assert len(host.events("worker_start_failed")) == 1


@pytest.mark.parametrize("how", ["raise", "exit"])
def test_nothing_is_forked_if_on_host_start_fails(start: Start, how: str) -> None:
    host = fail_to_start(start, how, "on_host_start")
    assert host.wait() == 4
    message = "\n".join(host.other_output)
    host.other_output.clear()
    assert message.count("host: ") == 1
    assert 'plugin "faulty"' in message
    assert "on_host_start" in message
    assert ("misbehaving in on_host_start" if how == "raise" else "SystemExit") in message
    assert host.events("worker_started") == []
    assert host.events("worker_ready") == []


@pytest.mark.timing
def test_a_stop_signal_during_the_start_is_obeyed(start: Start) -> None:
    host = fail_to_start(
        start,
        "hang",
        settings={
            "lifecycle.start_timeout_seconds": 30,
            "lifecycle.drain_timeout_seconds": 0.3,
            "log.level": "debug",
        },
    )
    host.wait_for("worker_started", count=3)
    host.signal(signal.SIGTERM)
    watch = Stopwatch()
    assert host.wait() == 9
    assert watch.seconds <= watch.scaled(2.0)
    assert of_session(host.pid) == []


def test_a_first_worker_that_cannot_be_forked_stops_the_host(start: Start) -> None:
    host = start(plugin=CROWDED, workers=16, ready=False)
    assert host.wait() == 6
    (failed,) = host.events("worker_start_failed")
    assert failed["slot"] == 0
    assert failed["cause"].startswith("it cannot be forked: ")
    assert "RLIMIT_NPROC" in failed["cause"]
    assert host.events("fork_failed") == []


def test_a_worker_that_cannot_be_replaced_is_tried_again_and_the_others_serve(start: Start) -> None:
    host = start(plugin=CROWDED, settings={"options.crowded.at": "death"})
    os.kill(host.workers[1], signal.SIGKILL)
    failed = host.wait_for("fork_failed", slot=1, count=2)
    assert "RLIMIT_NPROC" in failed["error"]
    with connect(host.address) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
    host.signal(signal.SIGTERM)
    assert host.wait() == 0
