"""A log that nobody reads, or that has nowhere to go, stops nobody."""

from __future__ import annotations

import pytest

from host.testing.machine import Stopwatch
from support.hosting import FAULTY, WHOAMI, Load, Start

pytestmark = pytest.mark.process

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


def test_a_log_whose_reader_has_gone_stops_nobody(start: Start, load: Load) -> None:
    host = start("--set", "log.access=true", plugin=WHOAMI, deaf_after="host_ready")
    host.hang_up()
    for turn in range(5):
        assert load.burst(host.address, SIZE, group=str(turn))["failures"] == {}
        load.close(group=str(turn))
    assert host.stop() == 0
