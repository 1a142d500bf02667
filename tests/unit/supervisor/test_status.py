"""What a running host tells about itself."""

import pytest

from host.ipc.host_counts import Restart
from host.ipc.scoreboard import (
    ACCEPTED,
    ACCEPTED_ALL,
    ACTIVE,
    BAD_PROXY,
    BAD_TLS,
    BYTES_IN,
    BYTES_OUT,
    CUT_ANSWERS,
    DATAGRAMS,
    DENIED,
    GONE,
    LATE,
    LOST_WRITES,
    PER_CLIENT,
    PROBES,
    RATE,
    REFUSED,
    SPURIOUS,
    SUSPENSIONS,
    TASKS_CANCELLED,
    TASKS_DONE,
    TASKS_LOST,
    TASKS_RUNNING,
    TASKS_WAITING,
    TURN_BUCKETS,
    TURN_STARTED,
    TURNS,
    WORKER_WORDS,
)
from host.ipc.totals import SlotCounts, Totals
from host.runtime.steps import finish
from host.supervisor import status
from host.supervisor.status import not_ready, readiness
from host.supervisor.workers.pool import GRACE_SECONDS
from support.generations import connect
from support.supervision import NO_PROCESS, site


@pytest.fixture
def alone():
    """A host of two workers that has just been started."""
    with site() as made:
        yield made


@pytest.fixture
def reloading():
    """A host whose generation 1 is to take over from 0."""
    with site(coming=True) as made:
        yield made


def told(site):
    return finish(status.status(site.state))


def with_word(word, count):
    return [count if each == word else 0 for each in range(WORKER_WORDS)]


def generations(site):
    return status.generations(site.state)["generations"]


def test_the_host_is_told_by_name_version_process_and_age(alone):
    shown = told(alone)
    assert (shown["name"], shown["version"], shown["pid"]) == ("prefork", "1.2.3", NO_PROCESS - 1)
    assert shown["uptime_seconds"] == 10.0
    assert shown["workers_wanted"] == 2
    assert shown["schedulers"] == ["first"]
    assert shown["plugins"] == []
    assert shown["restarts"] == 0


def test_each_worker_is_a_step_and_who_ends_meanwhile_is_left_out(alone):
    alone.start()
    steps = status.status(alone.state)
    next(steps)
    alone.end(alone.find(1))
    shown = finish(steps)
    assert [each["slot"] for each in shown["workers"]] == [0]
    assert shown["restarts"] == 1


def test_a_host_is_starting_then_serving_then_stopping(alone):
    alone.lifecycle.start()
    for slot in range(2):
        assert (told(alone)["state"], told(alone)["ready"]) == ("starting", False)
        alone.report(alone.find(slot), "ready")
    assert (told(alone)["state"], told(alone)["ready"]) == ("serving", True)
    alone.shutdown.begin("SIGTERM")
    assert (told(alone)["state"], told(alone)["ready"]) == ("stopping", False)
    assert told(alone)["not_ready"] == not_ready(alone.state) == "the host is stopping"
    whole = told(alone)
    assert readiness(alone.state) == {key: whole[key] for key in readiness(alone.state)}


def test_a_host_whose_new_generation_cannot_start_serves_with_the_one_before(reloading):
    reloading.lifecycle.start_none()
    assert (told(reloading)["state"], told(reloading)["generation"]) == ("serving", 0)
    assert [each["state"] for each in generations(reloading)] == ["serving", "failed"]


def test_a_host_that_reloads_is_ready_for_new_connections(reloading):
    assert (told(reloading)["state"], told(reloading)["generation"]) == ("reloading", 0)
    assert not_ready(reloading.state) == ""
    reloading.start()
    assert (told(reloading)["state"], told(reloading)["generation"]) == ("serving", 1)
    assert not_ready(reloading.state) == ""


def test_a_host_whose_workers_are_all_gone_is_not_ready(alone):
    alone.end(*alone.start(), code=1)
    assert not_ready(alone.state) == "no worker takes connections"


def test_a_worker_is_told_with_what_it_does(alone):
    first, second = alone.start()
    first.row.put(ACTIVE, 3)
    first.row.put(ACCEPTED_ALL, 7)
    first.row.put(TASKS_WAITING, 2)
    first.row.put(TASKS_LOST, 1)
    first.row.put(TURN_STARTED, int(99.75e9))
    first.plugins = [{"plugin": "census"}]
    second.held = True
    [shown, other] = told(alone)["workers"]
    assert shown == {
        "slot": 0,
        "pid": first.record.pid,
        "generation": 0,
        "state": "serving",
        "active": 3,
        "accepted": 7,
        "outstanding": 0,
        "suspended": False,
        "held": False,
        "age_seconds": 0.0,
        "turn_seconds": 0.25,
        "memory_bytes": None,
        "cpu_seconds": None,
        "reads": None,
        "tasks": {
            "waiting": 2,
            "running": 0,
            "done": 0,
            "failed": 0,
            "lost": 1,
            "timed_out": 0,
            "cancelled": 0,
        },
        "plugins": [{"plugin": "census"}],
        "shards": 0,
    }
    assert (other["slot"], other["held"]) == (1, True)


def test_tasks_of_a_slot_add_up_over_its_generations(reloading):
    old = reloading.find(0)
    for word, count in ((TASKS_WAITING, 1), (TASKS_DONE, 10), (TASKS_CANCELLED, 2)):
        old.row.put(word, count)
    reloading.state.generations.ended = Totals([SlotCounts(0, with_word(TASKS_DONE, 100))])
    reloading.start()
    new = next(each for each in reloading.workers if each.generation is not old.generation)
    for word, count in ((TASKS_RUNNING, 1), (TASKS_DONE, 1), (TASKS_LOST, 1)):
        new.row.put(word, count)
    shown = told(reloading)
    outcomes = {"done": 111, "failed": 0, "lost": 1, "timed_out": 0, "cancelled": 2}
    of_slot = [each["tasks"] for each in shown["workers"] if each["slot"] == 0]
    assert of_slot == [
        {"waiting": 1, "running": 0} | outcomes,
        {"waiting": 0, "running": 1} | outcomes,
    ]
    assert shown["tasks"] == {"waiting": 1, "running": 1} | outcomes


def test_workers_are_told_in_the_order_of_their_slots(alone):
    first, _ = alone.start()
    alone.end(first, code=1)
    assert [each["slot"] for each in told(alone)["workers"]] == [0, 1]


def test_the_state_of_a_worker_is_told_in_words_of_its_own(alone):
    alone.lifecycle.start()
    first = alone.find(0)

    def states():
        return [each["state"] for each in told(alone)["workers"] if each["slot"] == 0]

    assert states() == ["starting"]
    for slot in range(2):
        alone.report(alone.find(slot), "ready")
    assert states() == ["serving"]
    alone.lifecycle.retire(first, "a command")
    assert states() == ["retiring", "starting"]
    alone.report(alone.find(0), "ready")
    assert states() == ["draining", "serving"]
    alone.loop.advance(130.0 + GRACE_SECONDS)
    assert states() == ["killed", "serving"]


def test_what_was_sent_to_a_worker_and_not_accepted_is_outstanding(alone):
    first, _ = alone.start()
    with connect(first.generation.sockets[0]):
        alone.generations.run_passes()
        [listener] = told(alone)["listeners"]
    assert told(alone)["workers"][0]["outstanding"] == 1
    assert listener == {
        "index": 0,
        "address": first.generation.listeners[0].address,
        "plugin": "echo",
        "configured": first.generation.sockets[0].configured,
        "source": "opened",
        "file": None,
        "waiting": 1,
        "sent": 1,
        "accepted": 0,
        "spurious": 0,
        "refused": 0,
        "bytes_in": 0,
        "bytes_out": 0,
        "lost_writes": 0,
        "cut_answers": 0,
        "refusals": dict.fromkeys(CAUSES, 0),
        "datagrams": None,
    }


CAUSES = {
    "denied": DENIED,
    "proxy": BAD_PROXY,
    "tls": BAD_TLS,
    "late": LATE,
    "gone": GONE,
    "probes": PROBES,
    "per_client": PER_CLIENT,
    "rate": RATE,
}
COUNTED = {
    "accepted": (ACCEPTED, 5),
    "spurious": (SPURIOUS, 1),
    "refused": (REFUSED, 2),
    "bytes_in": (BYTES_IN, 3_000),
    "bytes_out": (BYTES_OUT, 5_000_000_000),
    "lost_writes": (LOST_WRITES, 8),
    "cut_answers": (CUT_ANSWERS, 9),
}


def test_listeners_are_told_with_the_sums_of_all_workers(alone):
    for handle in alone.start():
        for counter, amount in COUNTED.values():
            handle.row.add(0, counter, amount)
        for number, counter in enumerate(CAUSES.values(), 1):
            handle.row.add(0, counter, number)
    [listener] = told(alone)["listeners"]
    assert list(listener["refusals"].values()) == [2, 4, 6, 8, 10, 12, 14, 16]
    assert {name: listener[name] for name in COUNTED} == {
        name: 2 * amount for name, (_, amount) in COUNTED.items()
    }


def totals(site):
    return told(site)["totals"]


def test_totals_are_those_of_all_generations_also_of_one_that_has_ended(reloading):
    before = [reloading.find(slot, 0) for slot in range(2)]
    for handle in [*before, *reloading.start()]:
        handle.row.add(0, BYTES_IN, 5)
        handle.row.add(0, DATAGRAMS, 2)
        handle.row.add(0, RATE, 1)
    whole = totals(reloading)
    [listener] = whole["listeners"]
    view = reloading.generations.serving.listeners[0]
    assert (listener["address"], listener["plugin"]) == (view.address, view.plugin)
    assert (listener["bytes_in"], listener["refusals"]["rate"]) == (20, 4)
    assert listener["datagrams"]["received"] == 8
    assert [(each["slot"], each["bytes_in"]) for each in whole["slots"]] == [(0, 10), (1, 10)]
    reloading.end(*before)
    assert [each["generation"] for each in generations(reloading)] == [1]
    assert totals(reloading) == whole


def test_totals_do_not_fall_when_a_generation_ends_while_they_are_added_up(reloading):
    before = [reloading.find(slot, 0) for slot in range(2)]
    for handle in [*before, *reloading.start()]:
        handle.row.add(0, BYTES_IN, 5)
    whole, steps = totals(reloading), len(list(status.status(reloading.state)))
    for taken in range(1, steps + 1):
        with site(coming=True) as made:
            assert _ending_after(made, taken) == whole["listeners"][0]["bytes_in"]


def _ending_after(site, taken):
    """Return how many bytes are told of if a generation ends meanwhile."""
    before = [site.find(slot, 0) for slot in range(2)]
    for handle in [*before, *site.start()]:
        handle.row.add(0, BYTES_IN, 5)
    steps = status.status(site.state)
    for _ in range(taken):
        next(steps)
    site.end(*before)
    return finish(steps)["totals"]["listeners"][0]["bytes_in"]


def test_a_slot_is_told_with_its_turns_and_restarts(alone):
    first, _ = alone.start()
    first.row.put(TURNS + 3, 7)
    first.row.put(SUSPENSIONS, 2)
    first.row.add(0, BYTES_IN, 100)
    alone.state.counts.count_restart(0, Restart.HUNG)
    slot, other = totals(alone)["slots"]
    assert slot == {
        "slot": 0,
        "accepted": 0,
        "received": 0,
        "bytes_in": 100,
        "bytes_out": 0,
        "suspensions": 2,
        "turns": [0, 0, 0, 7, *[0] * (TURN_BUCKETS - 4)],
        "restarts": {
            "died": 0,
            "hung": 1,
            "out_of_memory": 0,
            "failed_to_start": 0,
            "recycled": 0,
        },
    }
    assert sum(other["turns"]) == sum(other["restarts"].values()) == 0


def test_the_last_reload_is_told_with_its_outcome(alone):
    assert told(alone)["last_reload"] is None
    alone.generations.note_refusal("no such file")
    alone.loop.now = 102.5
    assert told(alone)["last_reload"] == {
        "generation": 1,
        "outcome": "failed",
        "reason": "no such file",
        "seconds_ago": 2.5,
    }


def test_workers_that_hung_are_told_with_how_long_ago_it_was(alone):
    alone.exits.restore(4, [{"slot": 1, "pid": 7, "place": "f", "at": 97.0, "stacks": ["f"]}])
    assert told(alone)["hangs"] == [
        {"slot": 1, "pid": 7, "place": "f", "stacks": ["f"], "seconds_ago": 3.0}
    ]
    assert told(alone)["restarts"] == 4


def test_generations_are_told_oldest_first(reloading):
    assert generations(reloading) == [
        {
            "generation": 0,
            "state": "serving",
            "workers": 2,
            "ready": 2,
            "active": 0,
            "seconds_left": None,
        },
        {
            "generation": 1,
            "state": "starting",
            "workers": 0,
            "ready": 0,
            "active": 0,
            "seconds_left": None,
        },
    ]


def test_a_generation_that_drains_is_told_with_its_time_and_connections(reloading):
    reloading.find(0, 0).row.put(ACTIVE, 2)
    reloading.find(1, 0).row.put(ACTIVE, 3)
    reloading.start()
    reloading.loop.now = 110.0
    [older, serving] = generations(reloading)
    assert (older["state"], older["active"], older["ready"]) == ("draining", 5, 0)
    assert older["seconds_left"] == 20.0
    assert (serving["state"], serving["ready"], serving["seconds_left"]) == ("serving", 2, None)


def test_of_a_generation_beyond_its_deadline_no_time_is_left(reloading):
    reloading.start()
    reloading.loop.now = 140.0
    assert generations(reloading)[0]["seconds_left"] == 0.0
