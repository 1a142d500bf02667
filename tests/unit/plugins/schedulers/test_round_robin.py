"""Round-robin takes candidates in turn, whoever comes and goes."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host import Listener
from host.plugins.schedulers.round_robin import RoundRobin


def workers(*slots):
    return tuple(SimpleNamespace(slot=slot) for slot in slots)


def listener(index=0):
    return Listener(index, f"tcp://127.0.0.1:{7000 + index}", "echo")


def turns(scheduler, candidates, count, index=0):
    return [scheduler.choose_worker(listener(index), candidates).slot for _ in range(count)]


def test_every_worker_has_its_turn():
    assert turns(RoundRobin(), workers(0, 1, 2), 7) == [0, 1, 2, 0, 1, 2, 0]


def test_a_worker_that_is_away_loses_its_turns_and_nothing_else_changes():
    scheduler = RoundRobin()
    assert turns(scheduler, workers(0, 1, 2), 2) == [0, 1]
    assert turns(scheduler, workers(0, 1), 1) == [0]
    assert turns(scheduler, workers(0, 1, 2), 2) == [1, 2]


@pytest.mark.parametrize(("index", "first"), [(0, 0), (1, 1), (2, 2), (3, 0)])
def test_each_listener_has_turns_of_its_own_and_begins_elsewhere(index, first):
    scheduler = RoundRobin()
    turns(scheduler, workers(0, 1, 2), 2, index=9)
    assert turns(scheduler, workers(0, 1, 2), 1, index) == [first]


@given(st.lists(st.sets(st.integers(0, 5), min_size=1), max_size=40))
def test_nobody_is_passed_over(candidates):
    """Between two turns of one worker, each other one that was there all the time has one."""
    scheduler, chosen = RoundRobin(), []
    for slots in candidates:
        chosen += turns(scheduler, workers(*sorted(slots)), 1)
    last = {}
    for at, slot in enumerate(chosen):
        assert slot in candidates[at]
        if slot in last:
            between = range(last[slot] + 1, at + 1)
            always = set.intersection(*(candidates[step] for step in between)) - {slot}
            assert always <= {chosen[step] for step in between}
        last[slot] = at
