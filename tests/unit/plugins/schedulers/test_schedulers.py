"""What all schedulers that ship do: answer with a candidate, and spread what they should spread."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.plugins.schedulers.least_connections import LeastConnections
from host.plugins.schedulers.round_robin import RoundRobin
from support.schedulers import (
    CANDIDATES,
    LISTENER,
    OTHER,
    by_load,
    by_weight,
    chooser,
    idle,
    power_of_two,
)

SCHEDULERS = {
    "round_robin": RoundRobin,
    "least_connections": LeastConnections,
    "power_of_two_choices": power_of_two,
    "least_loaded": by_load,
    "weighted": lambda: by_weight(3, 0, 2),
}
TAKE_TURNS = [RoundRobin, LeastConnections, by_load, by_weight]


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
@given(passes=st.lists(st.tuples(st.sampled_from([LISTENER, OTHER]), CANDIDATES), max_size=8))
def test_answers_a_candidate_whoever_they_are(make, passes):
    choose = chooser(make)
    for listener, workers in passes:
        chosen = choose(workers, listener)
        if chosen is None:  # `weighted` leaves workers that weigh nothing to round-robin
            assert make is SCHEDULERS["weighted"]
            assert [view.slot for view in workers] == [1]
        else:
            assert any(chosen is view for view in workers)


@pytest.mark.parametrize("make", TAKE_TURNS)
@given(count=st.integers(1, 9), rounds=st.integers(1, 5))
def test_an_idle_pool_is_used_evenly(make, count, rounds):
    choose, workers = chooser(make), idle(count)
    taken = Counter(choose(workers).slot for _ in range(count * rounds))
    assert taken == dict.fromkeys(range(count), rounds)


@pytest.mark.parametrize("make", TAKE_TURNS)
@given(count=st.integers(1, 9), held=st.integers(0, 60))
def test_connections_that_stay_are_spread_exactly(make, count, held):
    choose, workers = chooser(make), idle(count)
    for _ in range(held):
        choose(workers).active += 1
    loads = [view.load for view in workers]
    assert max(loads) - min(loads) <= 1
