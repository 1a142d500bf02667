"""A log that nobody reads, or that has nowhere to go, stops nobody."""

from __future__ import annotations

import signal

import pytest

from host.testing.machine import Stopwatch
from support.hosting import FAULTY, WHOAMI, Load, Start, eventually, reload
from support.scraping import scrape, total

pytestmark = [pytest.mark.process, pytest.mark.warm]

SETTINGS = {"options.faulty.hook": "on_close", "options.faulty.how": "raise"}
BURSTS, SIZE = 20, 200


@pytest.mark.timing
def test_a_stalled_log_stops_nobody_and_what_is_dropped_is_counted(
    start: Start, load: Load
) -> None:
    host = start(
        "--set", "log.access=true", plugin=FAULTY, settings=SETTINGS, deaf_after="host_ready"
    )
    # About 150 bytes a connection: many times what a pipe holds (64 KiB, pipe(7)).
    watch = Stopwatch()
    for turn in range(BURSTS):
        result = load.burst(host.address, SIZE, group=str(turn))
        assert result["failures"] == {}
        assert max(result["waits"]) <= watch.scaled(1.0)
        load.close(group=str(turn))
    host.listen()
    assert host.stop() == 0
    written = len(host.events("connection_closed"))
    dropped = sum(event["count"] for event in host.events("lines_dropped"))
    print(f"{written} of {BURSTS * SIZE} lines were written, {dropped} lines dropped")
    assert dropped > 0
    failures = len(host.events("hook_failed"))
    # Lines of failed hooks can be among the dropped ones: ten of each worker at most.
    assert BURSTS * SIZE <= written + dropped <= BURSTS * SIZE + 20 - failures


def test_lines_that_are_dropped_have_a_metric_that_never_falls(start: Start, load: Load) -> None:
    host = start(
        *("--set", "log.access=true", "--ops", "tcp://127.0.0.1:0"),
        plugin=WHOAMI,
        workers=2,
        deaf_after="host_ready",
    )
    [listening] = host.events("ops_listening")
    address, name = listening["address"], "prefork_log_lines_dropped_total"
    assert total(scrape(address), name) == 0
    bursts = 0
    while total(scrape(address), name) < 100:
        assert load.burst(host.address, SIZE, group=str(bursts))["failures"] == {}
        load.close(group=str(bursts))
        bursts += 1
    eventually(
        lambda: total(scrape(address), "prefork_connections_closed_total") == bursts * SIZE,
        "all connections have ended",
    )
    dropped = total(scrape(address), name)
    assert total(scrape(address), name, slot="supervisor") == 0
    host.listen()

    def told() -> int:
        return sum(event["count"] for event in host.events("lines_dropped"))

    eventually(lambda: told() == dropped, "it is told how many were dropped")
    assert len(host.events("connection_closed")) + dropped == bursts * SIZE
    host.kill_worker(0)
    host.wait_for("worker_ready", count=3)
    reload(host)
    assert total(scrape(address), name) == dropped


def test_a_log_whose_reader_has_gone_stops_nobody(start: Start, load: Load) -> None:
    host = start("--set", "log.access=true", plugin=WHOAMI, deaf_after="host_ready")
    host.hang_up()
    for turn in range(5):
        assert load.burst(host.address, SIZE, group=str(turn))["failures"] == {}
        load.close(group=str(turn))
    assert host.stop() == 0


def test_lines_that_the_supervisor_has_dropped_are_counted_over_a_reload(start: Start) -> None:
    host = start("--ops", "tcp://127.0.0.1:0", workers=1, deaf_after="host_ready")
    [listening] = host.events("ops_listening")
    host.hang_up()

    def dropped() -> float:
        found = scrape(listening["address"])
        return total(found, "prefork_log_lines_dropped_total", slot="supervisor")

    def generation() -> float:
        return total(scrape(listening["address"]), "prefork_generation")

    while dropped() < 40:  # more than a reload has to tell
        host.signal(signal.SIGTTIN)
        host.signal(signal.SIGTTOU)
    before = dropped()
    host.signal(signal.SIGHUP)
    eventually(lambda: generation() == 1, "the host has reloaded")
    assert dropped() > before
    assert host.stop() == 0
