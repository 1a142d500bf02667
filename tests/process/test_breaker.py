"""A plugin that keeps failing is left out for a while, unless it is a protocol."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from host.testing.machine import Stopwatch
from support.address import connect
from support.asking import fresh_name, query
from support.hosting import FAULTY, Host, Start, eventually
from support.session import ask, poison

pytestmark = [pytest.mark.process, pytest.mark.warm]

MAX_FAILURES = 3
ILL = """
import time
from pathlib import Path

from host import hookimpl


def ail():
    if not Path("well").exists():
        {ailment}


@hookimpl
def {hook}():
    ail()
"""
RAISES = "raise RuntimeError('not today')"


@pytest.fixture
def ill(start: Start, tmp_path: Path) -> Callable[..., tuple[Host, str]]:
    """Start a host with a plugin that fails in a hook until the file `well` is there."""

    def begin(hook: str, ailment: str = RAISES, **others: Any) -> tuple[Host, str]:
        name = fresh_name()
        (tmp_path / "ill.py").write_text(ILL.format(hook=hook, ailment=ailment))
        chosen = {"breaker.max_failures": MAX_FAILURES, **others.pop("settings", {})}
        return start("--name", name, "--plugin", "./ill.py", settings=chosen, **others), name

    return begin


def served(host: Host) -> bool:
    """Tell whether a new connection is served; else it has been closed."""
    with connect(host.address) as session, suppress(ConnectionError, AssertionError):
        ask(session)
        return True
    return False


def left_out(name: str) -> list[Any]:
    """Return for each worker which plugins are left out there."""
    return [each["plugins"] for each in query(name, "status")["workers"]]


def test_an_observer_that_keeps_failing_is_left_out(ill: Callable[..., tuple[Host, str]]) -> None:
    host, name = ill("on_accept", workers=1)
    assert [served(host) for _ in range(10)] == [False] * MAX_FAILURES + [True] * 7
    told = host.wait_for("plugin_left_out")
    assert (told["plugin"], told["hook"], told["count"]) == ("ill", "on_accept", MAX_FAILURES)
    assert (told["level"], told["seconds"]) == ("error", 30.0)
    failed = host.events("hook_failed")
    assert len(failed) == MAX_FAILURES
    assert "not today" in failed[0]["error"]
    eventually(lambda: left_out(name) != [[]], "the worker has told of it")
    (found,) = left_out(name)[0]
    assert (found["plugin"], found["state"], found["hook"]) == ("ill", "open", "on_accept")
    assert found["failures"] == MAX_FAILURES
    assert 25 <= found["seconds_left"] <= 30
    assert query(name, "status")["plugins"] == []
    assert not host.events("worker_died")


def test_each_worker_has_its_own_experience(ill: Callable[..., tuple[Host, str]]) -> None:
    host, name = ill("on_accept", workers=2)
    assert [served(host) for _ in range(12)].count(False) == 2 * MAX_FAILURES
    told = [host.wait_for("plugin_left_out", count=count) for count in (1, 2)]
    assert {event["pid"] for event in told} == set(host.workers.values())
    eventually(lambda: all(left_out(name)), "both have told of it")
    # A new worker begins anew.
    mark = host.mark()
    os.kill(host.workers[1], signal.SIGKILL)
    host.wait_for("worker_ready", slot=1, since=mark)
    assert [len(each) for each in left_out(name)] == [1, 0]
    assert [served(host) for _ in range(12)].count(False) == MAX_FAILURES


@pytest.mark.timing
def test_it_is_tried_again_and_taken_back(
    ill: Callable[..., tuple[Host, str]], tmp_path: Path
) -> None:
    host, name = ill("on_accept", workers=1, settings={"breaker.open_seconds": 0.5})

    def is_left_out_for_a_while() -> None:
        """Be served until the plugin is called again."""
        watch, mark = Stopwatch(), host.mark()
        while served(host):
            assert watch.seconds <= watch.scaled(5.0)
        assert host.wait_for("plugin_left_out", since=mark)["count"] > MAX_FAILURES
        assert 0.3 <= watch.seconds <= 0.5 + watch.scaled(0.5)

    assert [served(host) for _ in range(4)] == [False] * MAX_FAILURES + [True]
    # A trial that fails costs one connection, not another three.
    is_left_out_for_a_while()
    is_left_out_for_a_while()
    (tmp_path / "well").touch()
    watch = Stopwatch()
    while not host.events("plugin_called_again"):
        assert served(host)
        assert watch.seconds <= watch.scaled(5.0)
    assert host.events("plugin_called_again")[0]["plugin"] == "ill"
    eventually(lambda: left_out(name) == [[]], "the worker has told of it")
    assert all(served(host) for _ in range(10))
    (tmp_path / "well").unlink()
    assert [served(host) for _ in range(6)] == [False] * MAX_FAILURES + [True] * 3


def test_one_that_is_slow_is_left_out_as_well(ill: Callable[..., tuple[Host, str]]) -> None:
    host, name = ill("on_accept", "time.sleep(0.25)", workers=1)
    assert all(served(host) for _ in range(8))
    told = host.wait_for("plugin_left_out")
    assert (told["plugin"], told["count"]) == ("ill", MAX_FAILURES)
    failed = host.events("hook_failed")
    assert len(failed) == MAX_FAILURES
    assert "SlowCallError" in failed[0]["error"]
    eventually(lambda: left_out(name) != [[]], "the worker has told of it")


def test_a_scheduler_that_keeps_failing_is_left_out_of_the_supervisor(
    ill: Callable[..., tuple[Host, str]],
) -> None:
    host, name = ill("choose_worker", workers=2)
    assert all(served(host) for _ in range(10))
    assert host.wait_for("plugin_left_out")["pid"] == host.pid
    assert len(host.events("hook_failed")) == MAX_FAILURES
    (found,) = query(name, "status")["plugins"]
    assert (found["plugin"], found["state"], found["hook"]) == ("ill", "open", "choose_worker")
    assert left_out(name) == [[], []]


def test_a_protocol_is_never_left_out(start: Start) -> None:
    name = fresh_name()
    settings = {
        "breaker.max_failures": MAX_FAILURES,
        "options.faulty.hook": "on_readable",
        "options.faulty.how": "raise",
    }
    host = start("--name", name, plugin=FAULTY, workers=1, settings=settings)
    for _ in range(10 * MAX_FAILURES):
        with connect(host.address) as session:
            poison(session)
            with suppress(ConnectionResetError):
                assert session.recv(1) == b""
    assert served(host)
    assert not host.events("plugin_left_out")
    assert left_out(name) == [[]]


def test_a_protocol_that_fails_as_an_observer_is_not_left_out_either(start: Start) -> None:
    name = fresh_name()
    settings = {
        "breaker.max_failures": MAX_FAILURES,
        "options.faulty.hook": "on_accept",  # for every second connection
        "options.faulty.how": "raise",
    }
    host = start("--name", name, plugin=FAULTY, workers=1, settings=settings)
    assert [served(host) for _ in range(20)] == [True, False] * 10
    assert not host.events("plugin_left_out")
    assert left_out(name) == [[]]
