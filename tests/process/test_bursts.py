"""Connections opened at once: all are answered, and the spread is exact to one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from support.asking import fresh_name, query
from support.hosting import BLIND, SLOW, Host, Load, Start, eventually, spread

pytestmark = [pytest.mark.process, pytest.mark.warm]

MANY = 900
"""As many as one worker, or one process of clients, takes with 1,024 descriptors."""
SIZES = (1, 2, 5, 10, 50, 200, MANY, 7, 200)


def run_bursts(host: Host, load: Load, sizes: tuple[int, ...]) -> None:
    """Run bursts on one host; check each of them, and their sum."""
    everything: list[list[int]] = []
    for size in sizes:
        result = load.burst(host.address, size)
        assert result["failures"] == {}, (size, result["failures"])
        assert len(result["answers"]) == size
        counts, difference = spread(result["answers"], host.slots)
        print(
            f"burst {size}: {counts}, last answer after {max(result['waits']) * 1000:.0f} ms, "
            f"spurious so far {host.board.spurious}, suspended {host.board.suspended}"
        )
        assert difference <= 1, (size, counts)
        everything += result["answers"]
        load.close()
    counts, difference = spread(everything, host.slots)
    assert difference <= 1, counts
    assert host.board.accepted == counts


@pytest.mark.parametrize("workers", [1, 2, 4, 8])
@pytest.mark.parametrize("family", ["tcp4", "tcp6", "unix"])
def test_every_connection_of_a_burst_is_answered_and_the_spread_is_exact(
    start: Start, load: Load, family: str, workers: int
) -> None:
    host = start(listen=(family,), workers=workers)
    run_bursts(host, load, SIZES)


@pytest.mark.parametrize("family", ["tcp4", "unix"])
def test_bursts_are_exact_where_the_kernel_tells_no_queue_length(
    start: Start, load: Load, family: str
) -> None:
    host = start(listen=(family,), workers=4, program=(BLIND,))
    host.wait_for("backlog_unknown", address=host.address)
    run_bursts(host, load, (1, 2, 5, 10, 50, 200, MANY))


def test_connections_held_from_earlier_bursts_change_nothing(start: Start, load: Load) -> None:
    host = start(workers=4)
    for size in (37, 200, 1, 62, 100):
        result = load.burst(host.address, size)
        assert result["failures"] == {}
    counts, difference = spread(result["answers"], 4)
    assert sum(counts) == 400
    assert difference <= 1, counts
    assert host.board.active == counts


def test_a_burst_that_waits_whole_in_the_backlog_is_handed_out_in_one_pass(
    start: Start, load: Load
) -> None:
    host = start(workers=4)
    os.kill(host.pid, signal.SIGSTOP)
    load.open(host.address, 1000)
    os.kill(host.pid, signal.SIGCONT)
    result = load.exchange()
    assert result["failures"] == {}
    counts, difference = spread(result["answers"], 4)
    assert sum(counts) == 1000
    assert difference <= 1, counts


@pytest.mark.timing
def test_with_default_settings_bursts_are_exact_unless_a_worker_seemed_to_hang(
    start: Start, load: Load
) -> None:
    """On a machine with other things to do a worker may get no CPU for `missed_claim_ms` = 45.

    It is suspended then, perhaps until after the next burst; or, if that was in the middle of an
    accept(), somebody is told in vain.
    """
    name, undisturbed = fresh_name(), 0
    host = start("--name", name, patient=False, workers=4)

    def all_take_part() -> bool:
        return not any(each["suspended"] for each in query(name, "status")["workers"])

    for size in (1, 10, 50, 200, 1000) * 4:
        eventually(all_take_part, "no worker is suspended")
        before = host.board.suspended, host.board.spurious
        result = load.burst(host.address, size)
        assert result["failures"] == {}
        assert len(result["answers"]) == size
        if (host.board.suspended, host.board.spurious) == before:
            counts, difference = spread(result["answers"], 4)
            assert difference <= 1, (size, counts)
            undisturbed += 1
        load.close()
    print(f"{undisturbed} of 20 bursts without a suspension, spurious {host.board.spurious}")
    assert undisturbed > 0


def test_a_worker_that_is_busy_claiming_is_not_taken_for_a_hung_one(
    start: Start, load: Load
) -> None:
    """Its 100 claims take a second, twice `missed_claim_ms`; but it goes on claiming."""
    host = start("--plugin", SLOW, settings={"dispatch.missed_claim_ms": 500}, workers=2)
    os.kill(host.pid, signal.SIGSTOP)
    load.open(host.address, 200)
    os.kill(host.pid, signal.SIGCONT)
    result = load.exchange()
    assert result["failures"] == {}
    counts, difference = spread(result["answers"], 2)
    assert difference <= 1, counts
    assert host.events("worker_suspended") == []
    assert host.board.spurious == [0, 0]


@pytest.mark.parametrize("family", ["tcp4", "unix"])
def test_a_full_backlog_is_handed_out_exactly(
    start: Start, loads: Callable[[], Load], family: str
) -> None:
    host = start(listen=(family,), workers=4)
    crowd = [loads() for _ in range(4)]
    os.kill(host.pid, signal.SIGSTOP)
    for load in crowd:  # the limit is 4096, and Unix sockets refuse what is beyond
        load.open(host.address, 975)
    os.kill(host.pid, signal.SIGCONT)
    results = [load.exchange(patience=30.0) for load in crowd]
    assert [result["failures"] for result in results] == [{}] * 4
    answers = [answer for result in results for answer in result["answers"]]
    counts, difference = spread(answers, 4)
    assert sum(counts) == 3900
    assert difference <= 1, counts
    assert host.board.spurious == [0] * 4
