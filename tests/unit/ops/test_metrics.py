"""What is shown before anything has been counted, so that alerts see the first of it."""

from __future__ import annotations

from contextlib import closing

from host.ipc.assignment import OpsAssignment
from host.ipc.host_counts import HostCounts, Restart
from host.ipc.scoreboard import (
    TASK_RUNS,
    TASK_WAITS,
    TURN_BUCKETS,
    WORKER_WORDS,
    bucket_of,
)
from host.ipc.series_totals import SeriesTotals
from host.ipc.totals import SlotCounts, Totals
from host.ops.metrics import SHOWN_FROM_ZERO, read


def read_of(counts, slots):
    """Return the samples of each metric, of a host without workers whose slots have counted so."""
    ended = Totals([SlotCounts(slot, words) for slot, words in slots.items()])
    host = OpsAssignment(
        1, "service", "1", 0.0, (), (), ended, SeriesTotals(), counts, None, -1, len
    )
    return {metric.name: list(samples) for metric, samples in read(host)}


def shown(counts, slots):
    """Return the values of each metric by its labels, of a host that has counted nothing."""
    found = read_of(counts, {slot: [0] * WORKER_WORDS for slot in slots})
    return {
        name: {sample.labels: sample.value for sample in samples} for name, samples in found.items()
    }


def test_how_long_tasks_wait_and_run_is_shown_of_slots_that_have_any():
    words = [0] * WORKER_WORDS
    words[TASK_WAITS + bucket_of(2_000)] = 3
    words[TASK_WAITS + TURN_BUCKETS] = 6_000
    words[TASK_RUNS + TURN_BUCKETS - 1] = 1  # longer than all buckets with a bound
    words[TASK_RUNS + TURN_BUCKETS] = 60_000_000_000
    with closing(HostCounts()) as counts:
        found = read_of(counts, {0: [0] * WORKER_WORDS, 1: words})
    for name, count, seconds in (("wait", 3, 6e-6), ("run", 1, 60.0)):
        samples = found[f"prefork_pool_task_{name}_seconds"]
        assert {each.labels for each in samples} == {(1,)}
        assert [each.value for each in samples[-2:]] == [seconds, count]
    buckets = [each.value for each in found["prefork_pool_task_wait_seconds"][:3]]
    assert buckets == [0, 3, 3]  # up to 1, 2 and 4 microseconds
    assert len(found["prefork_worker_turn_seconds"]) == 2 * (TURN_BUCKETS + 2)


def test_slots_have_all_causes_of_restarts_from_the_start():
    with closing(HostCounts()) as counts:
        found = shown(counts, [1, 0])["prefork_worker_restarts_total"]
    assert found == {(slot, cause.name.lower()): 0 for slot in (0, 1) for cause in Restart}


def test_restarts_of_slots_that_are_gone_stay():
    with closing(HostCounts(restarts=[(0, Restart.HUNG, 2), (7, Restart.DIED, 1)])) as counts:
        found = shown(counts, [0])["prefork_worker_restarts_total"]
    assert {labels: count for labels, count in found.items() if count} == {
        (0, "hung"): 2,
        (7, "died"): 1,
    }
    assert len(found) == len(Restart) + 1


def test_events_that_alerts_wait_for_are_shown_before_they_are_told():
    with closing(HostCounts({"helper_ended": 3, "host_ready": 1})) as counts:
        found = shown(counts, [])["prefork_events_total"]
    zeros = {(event.name,): 0 for event in SHOWN_FROM_ZERO}
    assert found == zeros | {("helper_ended",): 3, ("host_ready",): 1}
    assert {("host_reloading",), ("generation_ready",), ("reload_failed",)} <= set(zeros)


def test_dropped_lines_are_shown_of_each_slot_and_of_the_supervisor_from_the_start():
    with closing(HostCounts()) as counts:
        name, slots = "prefork_log_lines_dropped_total", [0, 1]
        assert shown(counts, slots)[name] == {("supervisor",): 0, (0,): 0, (1,): 0}
        counts.count_lines_dropped(3)
        found = shown(counts, slots)
        assert found[name] == {("supervisor",): 3, (0,): 0, (1,): 0}
        assert ("lines_dropped",) not in found["prefork_events_total"]


def test_messages_of_the_bus_are_shown_of_each_slot_from_the_start():
    with closing(HostCounts()) as counts:
        found = shown(counts, [0, 1])
    for name in ("published", "delivered"):
        assert found[f"prefork_bus_messages_{name}_total"] == {(0,): 0, (1,): 0}
    assert found["prefork_bus_messages_dropped_total"] == {
        (slot, at): 0 for slot in (0, 1) for at in ("publish", "delivery")
    }


def test_the_bus_is_shown_if_there_is_a_broker():
    with closing(HostCounts()) as counts:
        assert "prefork_bus_connected" not in shown(counts, [])
        counts.bus = False, 700
        found = shown(counts, [])
        assert found["prefork_bus_connected"] == {(): 0}
        assert found["prefork_bus_queued_bytes"] == {(): 700}
        counts.bus = True, 0
        assert shown(counts, [])["prefork_bus_connected"] == {(): 1}
