"""Schedulers in a running host, and traces from there to the simulation and back."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from host.cli.simulate import simulate
from host.errors import ExitCode
from support.address import connect
from support.asking import RefusedError, fresh_name, query
from support.hosting import Load, Start, eventually, spread
from support.session import ask

pytestmark = [pytest.mark.process, pytest.mark.warm]


@pytest.mark.parametrize(
    "scheduler", ["least_connections", "least_loaded", "power_of_two_choices", "weighted"]
)
def test_selecting_a_scheduler_is_all_it_takes(start: Start, load: Load, scheduler: str) -> None:
    host = start("--plugin", scheduler, workers=3)
    result = load.burst(host.address, 120)
    assert result["failures"] == {}
    counts, _ = spread(result["answers"], 3)
    assert sum(counts) == 120
    assert all(counts), counts
    assert host.events("hook_failed") == []


def test_least_connections_fills_up_whoever_has_fewer(start: Start) -> None:
    host = start("--plugin", "least_connections", workers=2)
    with ExitStack() as stack:
        first, *others = (stack.enter_context(connect(host.address)) for _ in range(6))
        slots = [ask(sock)[0] for sock in (first, *others)]
        assert sorted(slots) == [0, 0, 0, 1, 1, 1]
        gone = [sock for sock, slot in zip((first, *others), slots, strict=True) if slot == 0]
        for sock in gone:
            sock.close()
        eventually(lambda: host.board.active == [0, 3], "slot 0 has closed its connections")
        new = [stack.enter_context(connect(host.address)) for _ in range(3)]
        assert [ask(sock)[0] for sock in new] == [0, 0, 0]


def test_weights_are_kept_exactly(start: Start, load: Load) -> None:
    host = start("--plugin", "weighted", settings={"options.weighted.weights": "[3,0]"}, workers=3)
    result = load.burst(host.address, 80)
    assert spread(result["answers"], 3)[0] == [60, 0, 20]


def test_what_was_recorded_can_be_simulated(start: Start, tmp_path: Path) -> None:
    began, trace = time.time(), tmp_path / "trace.jsonl"
    host = start("--plugin", "record_trace", listen=("tcp4", "unix"), workers=2)
    for address in host.addresses:
        with ExitStack() as stack:
            clients = [stack.enter_context(connect(address)) for _ in range(20)]
            for sock in clients:
                ask(sock)
                ask(sock)
    eventually(lambda: sum(host.board.active) == 0, "all connections have ended")
    accepted = host.board.accepted
    assert host.stop() == 0
    records = [json.loads(line) for line in trace.read_text().splitlines()]
    assert [sum(each["slot"] == slot for each in records) for slot in (0, 1)] == accepted
    for address in host.addresses:
        assert sum(each["listener"] == address for each in records) == 20
    for each in records:
        assert began <= each["at"] <= each["at"] + each["seconds"] <= time.time() + 0.001
        assert each["reads"] >= 2
        assert 0 < each["busy"] <= each["seconds"]
    command = ["--trace", str(trace), "--workers", "2", "--scheduler", "round_robin", "--json"]
    result = CliRunner().invoke(simulate, command, catch_exceptions=False)
    (found,) = json.loads(result.output)
    assert found["taken"] == [20, 20]


def test_a_trace_that_cannot_be_written_does_not_disturb_serving(start: Start) -> None:
    host = start(
        *("--plugin", "record_trace", "--set", "options.record_trace.file=/dev/full"), workers=1
    )
    for _ in range(5):
        with connect(host.address) as sock:
            ask(sock)
    host.wait_for("hook_failed", hook="on_close", plugin="record_trace")
    eventually(lambda: host.board.active == [0], "all connections have ended")
    assert host.stop() == 0
    assert len(host.events("hook_failed", hook="on_close")) == 1
    (told,) = host.events("hook_failed", hook="on_worker_stop")
    assert told["error"].endswith("5 connections are missing in /dev/full")


def test_a_host_whose_trace_cannot_be_opened_does_not_start(start: Start) -> None:
    host = start(
        *("--plugin", "record_trace", "--set", "options.record_trace.file=none/t"),
        workers=1,
        ready=False,
    )
    assert host.wait() == ExitCode.WORKER_START
    (told,) = host.events("worker_start_failed")
    assert "cannot open the trace file none/t: No such file or directory" in told["cause"]


BREAKING = {
    "forbids forks": (
        "import sys\nsys.addaudithook(lambda event, _: 1 / (event != 'os.fork'))",
        "division by zero, in breaks.py:3",
    ),
    "closes a descriptor": (
        "import os\nos.close(3)",
        "closes or replaces the host's descriptors 3",
    ),
    "closes all descriptors": (
        "import os\nos.closerange(3, 100)",
        "exit code 4 while it was loaded in another process",
    ),
    "exits": ("import os\nos._exit(0)", r"while it is loaded, by os\._exit\(0\)"),
    "exits in C": (
        "import ctypes\nctypes.CDLL(None)._exit(0)",
        "exit code 0 while it was loaded in another process",
    ),
    "interrupts": ("raise KeyboardInterrupt", "importing it failed: KeyboardInterrupt"),
}


@pytest.mark.parametrize("how", BREAKING)
def test_a_scheduler_that_would_break_the_host_is_refused_and_changes_nothing(
    start: Start, tmp_path: Path, how: str
) -> None:
    code, phrase = BREAKING[how]
    (tmp_path / "breaks.py").write_text(
        f"from host import hookimpl\n{code}\n"
        "@hookimpl\ndef choose_worker(workers): return workers[0]\n"
    )
    name = fresh_name()
    host = start("--name", name, workers=2)
    with pytest.raises(RefusedError, match=phrase):
        query(name, "scheduler", name="./breaks.py")
    assert query(name, "status")["schedulers"] == ["round_robin"]
    before = host.kill_worker(0)
    eventually(lambda: host.workers[0] != before, "the worker is replaced")
    with connect(host.address) as session:
        ask(session)
    assert host.stop() == 0
