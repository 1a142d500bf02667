"""What is told of the tasks of a worker: in its profile, when one hangs, and at its end."""

from __future__ import annotations

import json
import select
from pathlib import Path

import pytest

from support.address import connect
from support.hosting import SUPPORT, Start

pytestmark = [pytest.mark.process, pytest.mark.warm]

FILE = SUPPORT / "asyncio_tasks_left.py"


def test_a_task_that_does_not_end_is_told_with_where_it_is(start: Start) -> None:
    host = start(plugin=f"{FILE}:Stubborn", workers=1)
    assert host.stop() == 0
    failed = host.wait_for("callback_failed")
    assert failed["call"] == "task the stubborn one"
    assert failed["plugin"] == "asyncio_tasks_left:Stubborn"
    assert failed["error"] == (
        "TimeoutError: it went on for 2 s after it was cancelled: "
        f"Stubborn.go_on ({FILE}:22), Stubborn.wait ({FILE}:27)"
    )
    assert host.events("plugin_printed", text="not yet")


def test_a_task_that_hangs_is_told_with_its_name(start: Start) -> None:
    plugin = f"{SUPPORT / 'asyncio_protocol.py'}:Plugin"
    host = start(plugin=plugin, workers=1, settings={"lifecycle.hang_seconds": 1})
    with connect(host.address) as client:
        client.sendall(b"hang_in_task\n")
        message = host.wait_for("worker_hung")["message"]
        assert ", task Task-" in message
        assert "(Obedient.do_hang_in_task.<locals>.hangs); it is made to end" in message
        host.wait_for("worker_ready", count=2)


def test_many_tasks_that_run_at_once_are_no_hang_and_leave_others_their_turn(start: Start) -> None:
    """300 of 10 ms: three times the time of a hang."""
    host = start(plugin=f"{FILE}:Many", workers=1, settings={"lifecycle.hang_seconds": 1})
    with connect(host.address) as many, connect(host.address) as other:
        many.sendall(b"many\n")
        for _ in range(5):
            other.sendall(b"x\n")
            assert other.recv(100) == b"x\n"
            assert not select.select([many], [], [], 0)[0]  # its tasks are not done yet
        assert many.recv(100) == b"all\n"
    assert not host.events("worker_hung")
    assert host.stop() == 0


def test_who_waits_as_it_stops_does_not_hang(start: Start) -> None:
    host = start(plugin=f"{FILE}:Slow", workers=1, settings={"lifecycle.hang_seconds": 1})
    assert host.stop() == 0
    host.wait_for("plugin_printed", text="stopped")
    assert not host.events("worker_hung")


def test_what_begins_as_the_worker_ends_hears_of_it(start: Start) -> None:
    host = start(plugin=f"{FILE}:Late", workers=1)
    assert host.stop() == 0
    for name in ("first", "second"):
        host.wait_for("plugin_printed", text=f"{name} was cancelled")
    assert not host.events("callback_failed")


def test_a_profile_has_a_row_for_each_coroutine(start: Start, tmp_path: Path) -> None:
    host = start("--profile", "profile", plugin=f"{FILE}:Stubborn", workers=1)
    with connect(host.address) as client, client.makefile("rb") as answers:
        for _ in range(3):
            client.sendall(b"hello\n")
            assert answers.readline() == b"HELLO\n"
    assert host.stop() == 0
    table = "\n".join(host.other_output)
    host.other_output.clear()
    assert "asyncio_tasks_left:Stubborn  task Stubborn.handle" in table
    [file] = (tmp_path / "profile").glob("*.json")
    hooks = {(each["plugin"], each["hook"]): each for each in json.loads(file.read_text())["hooks"]}
    tasks = {hook for _, hook in hooks if hook.startswith("task ")}
    assert tasks == {"task Stubborn.handle"}  # the other one has waited all the time
    row = hooks["asyncio_tasks_left:Stubborn", "task Stubborn.handle"]
    assert row["calls"] >= 4
    assert 0 < row["longest"] <= row["seconds"]
