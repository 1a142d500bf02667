"""Processes that are stopped (SIGSTOP) delay nobody for long, and lose nobody."""

from __future__ import annotations

import os
import signal
import time

import pytest

from host.testing.machine import Stopwatch
from support.address import connect
from support.hosting import BLIND, FAULTY, Load, Start, freeze, spread, thaw
from support.session import ask, poison

pytestmark = [pytest.mark.process, pytest.mark.warm]

MAX_WAIT_SECONDS = 0.2
"""The limit that the host promises; a worker is given up after missed_claim_ms = 45."""


@pytest.mark.timing
@pytest.mark.parametrize(
    ("family", "workers", "frozen", "size"),
    [
        ("tcp4", 2, 1, 50),
        ("tcp4", 2, 1, 200),
        ("tcp4", 4, 1, 50),
        ("tcp4", 4, 3, 200),
        ("tcp6", 4, 1, 200),
        ("unix", 2, 1, 200),
        ("unix", 4, 1, 200),
        ("unix", 4, 3, 50),
    ],
)
def test_no_client_waits_for_a_frozen_worker(
    start: Start, load: Load, family: str, workers: int, frozen: int, size: int
) -> None:
    host = start(patient=False, listen=(family,), workers=workers)
    pids = host.workers
    for slot in range(frozen):
        freeze(pids[slot])
    watch = Stopwatch()
    result = load.burst(host.address, size)
    print(f"longest wait: {max(result['waits']) * 1000:.0f} ms")
    assert result["failures"] == {}
    assert max(result["waits"]) <= watch.scaled(MAX_WAIT_SECONDS)
    assert {slot for slot, *_ in result["answers"]} == set(range(frozen, workers))
    # Now that it is suspended, nobody waits at all for it.
    again = load.burst(host.address, size, group="again")
    assert again["failures"] == {}
    assert max(again["waits"]) <= watch.scaled(MAX_WAIT_SECONDS)
    for slot in range(frozen):
        host.wait_for("worker_suspended", slot=slot, pid=pids[slot])
        thaw(pids[slot])
        host.wait_for("worker_caught_up", slot=slot, pid=pids[slot])
    # It is one of them again.
    last = load.burst(host.address, size, group="last")
    counts, difference = spread(last["answers"], workers)
    assert difference <= 1, counts


@pytest.mark.parametrize(("family", "size"), [("tcp4", 200), ("tcp6", 50), ("unix", 200)])
def test_with_all_workers_frozen_clients_wait_until_one_is_continued(
    start: Start, load: Load, family: str, size: int
) -> None:
    host = start(patient=False, listen=(family,), workers=2)
    pids = host.workers
    for pid in pids.values():
        freeze(pid)
    load.open(host.address, size)
    for slot in pids:
        host.wait_for("worker_suspended", slot=slot)
    thaw(pids[1])
    result = load.exchange()
    assert result["failures"] == {}
    assert {slot for slot, *_ in result["answers"]} == {1}
    thaw(pids[0])
    host.wait_for("worker_caught_up", slot=0)


def test_with_all_workers_continued_at_once_every_client_is_served(
    start: Start, load: Load
) -> None:
    host = start(patient=False, workers=4)
    pids = host.workers
    for turn in range(5):
        mark = host.mark()
        for pid in pids.values():
            freeze(pid)
        load.open(host.address, 100, group=str(turn))
        if turn % 2:
            for slot in pids:
                host.wait_for("worker_suspended", slot=slot, since=mark)
        for pid in pids.values():
            thaw(pid)
        result = load.exchange(group=str(turn))
        assert result["failures"] == {}
        assert len(result["answers"]) == 100


@pytest.mark.timing
@pytest.mark.parametrize("family", ["tcp4", "unix"])
def test_a_frozen_supervisor_harms_no_session_and_loses_no_newcomer(
    start: Start, load: Load, family: str
) -> None:
    host = start(patient=False, listen=(family,), workers=2)
    with connect(host.address) as session:
        ask(session)
        freeze(host.pid)
        load.open(host.address, 200)
        until = time.monotonic() + 1.0
        rounds = 0
        while time.monotonic() < until:
            ask(session)
            rounds += 1
    thaw(host.pid)
    watch = Stopwatch()
    result = load.exchange()
    assert result["failures"] == {}
    counts, difference = spread(result["answers"], 2)
    assert difference <= 1, counts
    # These waits count from the command, which was given after the supervisor went on.
    assert max(result["waits"]) <= watch.scaled(MAX_WAIT_SECONDS)
    assert rounds > 100


@pytest.mark.timing
def test_a_worker_that_loops_in_a_hook_delays_nobody(start: Start, load: Load) -> None:
    host = start(
        patient=False,
        plugin=FAULTY,
        settings={"options.faulty.hook": "on_readable", "options.faulty.how": "hang"},
        workers=2,
    )
    with connect(host.address) as poisoner:
        slot, pid = poison(poisoner)
        watch = Stopwatch()
        result = load.burst(host.address, 200)
        assert result["failures"] == {}
        assert max(result["waits"]) <= watch.scaled(MAX_WAIT_SECONDS)
        assert {other for other, *_ in result["answers"]} == {1 - slot}
        mark = host.mark()
        os.kill(pid, signal.SIGKILL)
        host.wait_for("worker_ready", slot=slot, since=mark)


@pytest.mark.timing
@pytest.mark.parametrize("family", ["tcp4", "unix"])
def test_where_the_kernel_tells_no_queue_length_nobody_waits_for_a_frozen_worker_either(
    start: Start, load: Load, family: str
) -> None:
    host = start(patient=False, listen=(family,), workers=2, program=(BLIND,))
    host.wait_for("backlog_unknown")
    freeze(host.workers[0])
    watch = Stopwatch()
    result = load.burst(host.address, 50)
    assert result["failures"] == {}
    assert max(result["waits"]) <= watch.scaled(MAX_WAIT_SECONDS)
    assert {slot for slot, *_ in result["answers"]} == {1}
