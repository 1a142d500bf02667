"""The lag of a loop counts as connections, for as long as the turn is under way."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from host.plugins.schedulers.least_connections import LeastConnections
from host.testing import Harness
from support.schedulers import CANDIDATES, View, by_load, chooser


@given(passes=st.lists(CANDIDATES, max_size=8))
def test_without_lag_it_is_least_connections(passes):
    one, other = chooser(lambda: by_load(lag=1.0)), chooser(LeastConnections)
    for workers in passes:
        assert one(workers) is other(workers)


def test_a_long_turn_under_way_counts_as_connections():
    workers = (View(0), View(1, active=2), View(2, active=9))
    choose, now = chooser(by_load), 0.05  # five connections' worth of lag
    taken = []
    for _ in range(4):
        workers[0].loop_lag_seconds = now
        chosen = choose(workers)
        chosen.active += 1
        taken.append(chosen.slot)
        now += 0.0001
    assert taken == [1, 1, 1, 0]


def test_a_turn_that_is_over_counts_no_more():
    workers = (View(0, loop_lag_seconds=9.0), View(1, active=1))
    choose = chooser(by_load)
    assert [choose(workers).slot for _ in range(3)] == [1, 0, 0]


@given(lags=st.lists(st.floats(0, 10), min_size=1, max_size=6), rounds=st.integers(1, 4))
def test_nobody_starves_for_turns_of_the_past(lags, rounds):
    workers = tuple(View(slot, loop_lag_seconds=lag) for slot, lag in enumerate(lags))
    choose = chooser(by_load)
    choose(workers)
    taken = Counter(choose(workers).slot for _ in range(len(lags) * rounds))
    assert taken == dict.fromkeys(range(len(lags)), rounds)


def test_lag_that_counts_against_a_worker_is_counted():
    with Harness("line", "least_loaded") as harness:
        plugin = harness.plugin("least_loaded")
        for lag in (0.001, 0.05, 0.05, 0.06):
            plugin.choose_worker([View(0, loop_lag_seconds=lag)])
        assert harness.metrics()["prefork_least_loaded_lags_total"] == 2
