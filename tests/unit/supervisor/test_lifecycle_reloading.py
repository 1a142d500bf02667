"""Workers during a reload: one generation starts, the one before serves and then drains."""

import signal

import pytest

from host.ipc.protocol import Drain
from host.supervisor.workers.states import WorkerState
from host.telemetry.events import (
    GENERATION_FAILED,
    HOST_READY,
    WORKER_DIED,
    WORKER_STARTED,
)
from support.supervision import site


@pytest.fixture
def reloading():
    """A host whose generation 1 is to take over from 0."""
    with site(coming=True) as made:
        yield made


def slots(site, *states):
    """The slots with workers in one of these states, or of all workers."""
    return sorted(
        each.record.slot for each in site.workers if not states or each.record.state in states
    )


def test_a_generation_takes_over_when_all_its_workers_are_ready(reloading):
    old = list(reloading.workers)
    new = reloading.start()
    assert reloading.generations.serving.number == 1
    assert [reloading.ends(each).told() for each in old] == [[Drain(130.0)]] * 2
    assert [reloading.ends(each).told() for each in new] == [[], []]
    assert reloading.settled == 1
    assert reloading.told.of(HOST_READY) == []


def test_a_generation_is_closed_when_its_last_worker_has_ended(reloading):
    old = list(reloading.workers)
    reloading.start()
    assert [each.number for each in reloading.generations.older] == [0]
    reloading.end(*old)
    assert reloading.generations.older == []
    assert slots(reloading, WorkerState.READY) == [0, 1]


def test_no_generation_takes_over_while_the_host_stops(reloading):
    old = list(reloading.workers)
    reloading.shutdown.begin("SIGTERM")
    reloading.start()
    assert reloading.generations.serving.number == 0
    assert [reloading.ends(each).told() for each in old] == [[], []]


def test_a_generation_whose_worker_cannot_start_has_failed_and_is_tried_again(reloading):
    reloading.lifecycle.start()
    first = reloading.find(0)
    reloading.end(first, code=1)
    outcome = reloading.generations.outcome
    assert (outcome.generation, outcome.state) == (1, "failed")
    assert outcome.reason == "exit code 1 before it was ready, outside any hook"
    assert [told["generation"] for told in reloading.told.of(GENERATION_FAILED)] == [1]
    assert reloading.settled == 1
    assert slots(reloading) == [0, 0, 1, 1]  # one of each generation
    for slot in range(2):
        reloading.report(reloading.find(slot, 1), "ready")
    assert reloading.generations.serving.number == 1


def test_a_generation_whose_worker_is_not_ready_in_time_has_failed_too(reloading):
    reloading.lifecycle.start()
    first = reloading.find(0)
    reloading.loop.advance(first.record.deadline)  # its stacks are asked for
    reloading.loop.advance(first.record.deadline)  # it is killed
    reloading.end(first, signal=signal.SIGKILL)
    outcome = reloading.generations.outcome
    assert (outcome.generation, outcome.state) == (1, "failed")
    assert outcome.reason == "not ready in time (start_timeout_seconds), outside any hook"
    assert [told["generation"] for told in reloading.told.of(GENERATION_FAILED)] == [1]
    assert reloading.settled == 1


def test_an_older_worker_that_ends_is_not_replaced(reloading):
    reloading.end(reloading.find(0, 0), code=1)
    assert slots(reloading) == [1]
    assert reloading.told.of(WORKER_DIED)[-1]["next"] == "it was on its way out"
    assert reloading.told.of(GENERATION_FAILED) == []
    assert reloading.settled == 0


def test_a_generation_that_cannot_start_gets_no_workers(reloading):
    reloading.lifecycle.start_none()
    reloading.lifecycle.start()
    assert slots(reloading) == [0, 1]
    assert reloading.told.of(WORKER_STARTED) == []


def test_workers_of_generations_that_are_kept_do_not_drain(reloading):
    old = list(reloading.workers)
    reloading.lifecycle.drain_others(0, 1)
    assert [reloading.ends(each).told() for each in old] == [[], []]
    reloading.lifecycle.drain_others(1)
    assert [reloading.ends(each).told() for each in old] == [[Drain(130.0)]] * 2
