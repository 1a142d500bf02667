"""Schedulers choose candidates, spread what they should spread, and are fair about ties."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host import Listener
from host.plugins.schedulers import least_loaded, power_of_two_choices, weighted
from host.plugins.schedulers.least_connections import LeastConnections
from host.plugins.schedulers.round_robin import RoundRobin

LISTENER = Listener(0, "tcp://127.0.0.1:7000", "echo")
OTHER = Listener(1, "tcp://127.0.0.1:7001", "echo")


@dataclass(eq=False)
class View:
    slot: int
    active: int = 0
    outstanding: int = 0
    loop_lag_seconds: float = 0.0
    pid: int = 1
    generation: int = 0
    accepted: int = 0

    @property
    def load(self):
        return self.active + self.outstanding


def idle(count):
    return tuple(View(slot) for slot in range(count))


def asker(make):
    """Make a scheduler; return its hook as a function of the workers and, if need be, a listener.

    A hook implementation may leave out arguments, so each is called with those it names.
    """
    choose = make().choose_worker
    if "listener" in choose.__code__.co_varnames[: choose.__code__.co_argcount]:
        return lambda workers, listener=LISTENER: choose(listener, workers)
    return lambda workers, listener=LISTENER: choose(workers)


def power_of_two(seed=1):
    return power_of_two_choices.PowerOfTwoChoices(power_of_two_choices.Options(seed=seed))


def by_load(lag=0.01):
    return least_loaded.LeastLoaded(least_loaded.Options(lag_seconds_per_connection=lag))


def by_weight(*weights):
    return weighted.Weighted(weighted.Options(weights=weights))


SCHEDULERS = {
    "round_robin": RoundRobin,
    "least_connections": LeastConnections,
    "power_of_two_choices": power_of_two,
    "least_loaded": by_load,
    "weighted": lambda: by_weight(3, 0, 2),
}
TAKE_TURNS = [RoundRobin, LeastConnections, by_load, by_weight]

VIEWS = st.builds(
    View,
    slot=st.integers(0, 7),
    active=st.integers(0, 5),
    outstanding=st.integers(0, 5),
    loop_lag_seconds=st.sampled_from([0.0, 0.001, 0.02, 0.5]),
)
CANDIDATES = st.lists(VIEWS, min_size=1, max_size=8, unique_by=lambda view: view.slot).map(
    lambda views: tuple(sorted(views, key=lambda view: view.slot))
)


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
@given(passes=st.lists(st.tuples(st.sampled_from([LISTENER, OTHER]), CANDIDATES), max_size=8))
def test_answers_a_candidate_whoever_they_are(make, passes):
    choose = asker(make)
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
    choose, workers = asker(make), idle(count)
    taken = Counter(choose(workers).slot for _ in range(count * rounds))
    assert taken == dict.fromkeys(range(count), rounds)


@pytest.mark.parametrize("make", TAKE_TURNS)
@given(count=st.integers(1, 9), held=st.integers(0, 60))
def test_connections_that_stay_are_spread_exactly(make, count, held):
    choose, workers = asker(make), idle(count)
    for _ in range(held):
        choose(workers).active += 1
    loads = [view.load for view in workers]
    assert max(loads) - min(loads) <= 1


class TestLeastConnections:
    @given(passes=st.lists(CANDIDATES, max_size=8))
    def test_takes_one_with_the_fewest_in_turn(self, passes):
        choose, last = asker(LeastConnections), -1
        for workers in passes:
            fewest = min(view.load for view in workers)
            equals = [view.slot for view in workers if view.load == fewest]
            chosen = choose(workers).slot
            assert chosen == next((slot for slot in equals if slot > last), equals[0])
            last = chosen

    @given(
        count=st.integers(2, 6),
        events=st.lists(st.one_of(st.none(), st.integers(0, 50)), max_size=100),
    )
    def test_arrivals_alone_never_widen_a_gap(self, count, events):
        """None is an arrival, a number ends one of the open connections."""
        choose, workers, opened = asker(LeastConnections), idle(count), []
        for event in events:
            loads = [view.load for view in workers]
            gap = max(loads) - min(loads)
            if event is None:
                chosen = choose(workers)
                chosen.outstanding += 1
                opened.append(chosen)
                loads = [view.load for view in workers]
                assert max(loads) - min(loads) <= max(gap, 1)
            elif opened:
                opened.pop(event % len(opened)).outstanding -= 1

    def test_what_is_on_its_way_counts(self):
        workers = (View(0, active=1), View(1, outstanding=2))
        assert asker(LeastConnections)(workers).slot == 0


class TestPowerOfTwoChoices:
    @given(seed=st.integers(), loads=st.tuples(st.integers(0, 9), st.integers(0, 9)))
    def test_of_two_it_takes_the_less_loaded(self, seed, loads):
        workers = (View(3, active=loads[0]), View(5, outstanding=loads[1]))
        assert asker(lambda: power_of_two(seed))(workers).load == min(loads)

    @given(seed=st.integers(), workers=CANDIDATES)
    def test_never_takes_the_one_that_is_more_loaded_than_all_others(self, seed, workers):
        loads = sorted(view.load for view in workers)
        if len(loads) > 1 and loads[-1] > loads[-2]:
            choose = asker(lambda: power_of_two(seed))
            assert all(choose(workers).load < loads[-1] for _ in range(20))

    def test_each_pair_is_drawn_alike(self):
        # Slot k is taken when it is drawn with a slot above it: 3, 2, 1 and 0 of the 6 pairs.
        workers = tuple(View(slot, active=slot) for slot in range(4))
        choose = asker(power_of_two)
        taken = Counter(choose(workers).slot for _ in range(6000))
        assert [round(taken[slot] / 1000) for slot in range(4)] == [3, 2, 1, 0]

    def test_among_equals_all_are_taken_alike(self):
        workers, choose = idle(4), asker(power_of_two)
        taken = Counter(choose(workers).slot for _ in range(4000))
        assert [round(taken[slot] / 1000) for slot in range(4)] == [1, 1, 1, 1]

    def test_a_seed_makes_its_choices_repeatable(self):
        def choices(seed):
            choose, workers = asker(lambda: power_of_two(seed)), idle(8)
            return [choose(workers).slot for _ in range(50)]

        assert choices(5) == choices(5)
        assert choices(5) != choices(6)
        assert choices(None) != choices(None)


class TestLeastLoaded:
    @given(passes=st.lists(CANDIDATES, max_size=8))
    def test_without_lag_it_is_least_connections(self, passes):
        one, other = asker(lambda: by_load(lag=1.0)), asker(LeastConnections)
        for workers in passes:
            assert one(workers) is other(workers)

    def test_a_long_turn_under_way_counts_as_connections(self):
        workers = (View(0), View(1, active=2), View(2, active=9))
        choose, now = asker(by_load), 0.05  # five connections' worth of lag
        taken = []
        for _ in range(4):
            workers[0].loop_lag_seconds = now
            chosen = choose(workers)
            chosen.active += 1
            taken.append(chosen.slot)
            now += 0.0001
        assert taken == [1, 1, 1, 0]

    def test_a_turn_that_is_over_counts_no_more(self):
        workers = (View(0, loop_lag_seconds=9.0), View(1, active=1))
        choose = asker(by_load)
        assert [choose(workers).slot for _ in range(3)] == [1, 0, 0]

    @given(lags=st.lists(st.floats(0, 10), min_size=1, max_size=6), rounds=st.integers(1, 4))
    def test_nobody_starves_for_turns_of_the_past(self, lags, rounds):
        workers = tuple(View(slot, loop_lag_seconds=lag) for slot, lag in enumerate(lags))
        choose = asker(by_load)
        choose(workers)
        taken = Counter(choose(workers).slot for _ in range(len(lags) * rounds))
        assert taken == dict.fromkeys(range(len(lags)), rounds)


class TestWeighted:
    @given(
        weights=st.lists(st.integers(0, 6), min_size=1, max_size=6),
        more=st.integers(0, 2),
        cycles=st.integers(1, 3),
    )
    def test_each_cycle_gives_each_slot_exactly_its_weight(self, weights, more, cycles):
        choose, workers = asker(lambda: by_weight(*weights)), idle(len(weights) + more)
        shares = {slot: weight for slot, weight in enumerate([*weights, *[1] * more]) if weight}
        for _ in range(cycles if shares else 0):
            for listener in (LISTENER, OTHER):
                turns = range(sum(shares.values()))
                assert Counter(choose(workers, listener).slot for _ in turns) == shares

    def test_turns_are_mixed(self):
        choose, workers = asker(lambda: by_weight(5, 1, 1)), idle(3)
        assert [choose(workers).slot for _ in range(14)] == [0, 0, 1, 0, 2, 0, 0] * 2

    def test_each_listener_has_turns_of_its_own(self):
        choose, workers = asker(lambda: by_weight(2, 1)), idle(2)
        turns = [(choose(workers).slot, choose(workers, OTHER).slot) for _ in range(3)]
        assert turns == [(0, 0), (1, 1), (0, 0)]

    @given(passes=st.lists(CANDIDATES, max_size=8))
    def test_no_weight_no_turn_while_there_is_anyone_else(self, passes):
        choose = asker(lambda: by_weight(2, 0, 1, 0))
        for workers in passes:
            chosen = choose(workers)
            if any(view.slot not in (1, 3) for view in workers):
                assert chosen.slot not in (1, 3)
            else:
                assert chosen is None

    @given(away=st.integers(0, 100))
    def test_who_was_away_is_not_flooded_afterwards(self, away):
        choose, workers = asker(by_weight), idle(3)
        for _ in range(away):
            choose(workers[::2])
        taken = Counter(choose(workers).slot for _ in range(9))
        assert all(2 <= taken[slot] <= 4 for slot in range(3))
