"""Each slot has its weight in turns, for each listener, and nobody is flooded."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from support.schedulers import CANDIDATES, LISTENER, OTHER, by_weight, chooser, idle


@given(
    weights=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    more=st.integers(0, 2),
    cycles=st.integers(1, 3),
)
def test_each_cycle_gives_each_slot_exactly_its_weight(weights, more, cycles):
    choose, workers = chooser(lambda: by_weight(*weights)), idle(len(weights) + more)
    shares = {slot: weight for slot, weight in enumerate([*weights, *[1] * more]) if weight}
    for _ in range(cycles if shares else 0):
        for listener in (LISTENER, OTHER):
            turns = range(sum(shares.values()))
            assert Counter(choose(workers, listener).slot for _ in turns) == shares


def test_turns_are_mixed():
    choose, workers = chooser(lambda: by_weight(5, 1, 1)), idle(3)
    assert [choose(workers).slot for _ in range(14)] == [0, 0, 1, 0, 2, 0, 0] * 2


def test_each_listener_has_turns_of_its_own():
    choose, workers = chooser(lambda: by_weight(2, 1)), idle(2)
    turns = [(choose(workers).slot, choose(workers, OTHER).slot) for _ in range(3)]
    assert turns == [(0, 0), (1, 1), (0, 0)]


@given(passes=st.lists(CANDIDATES, max_size=8))
def test_no_weight_no_turn_while_there_is_anyone_else(passes):
    choose = chooser(lambda: by_weight(2, 0, 1, 0))
    for workers in passes:
        chosen = choose(workers)
        if any(view.slot not in (1, 3) for view in workers):
            assert chosen.slot not in (1, 3)
        else:
            assert chosen is None


@given(weights=st.lists(st.integers(0, 6), max_size=4), passes=st.lists(CANDIDATES, max_size=12))
def test_candidates_may_change_at_every_turn(weights, passes):
    """The same as nginx's words say: each gains its weight, who has the most pays for all."""
    choose, gained = chooser(lambda: by_weight(*weights)), Counter()
    again = [workers for workers in passes for _ in range(2)]
    for workers in again:
        weighing = {view.slot: dict(enumerate(weights)).get(view.slot, 1) for view in workers}
        weighing = {slot: weight for slot, weight in weighing.items() if weight}
        chosen = choose(workers)
        if not weighing:
            assert chosen is None
            continue
        gained.update(weighing)
        first = max(weighing, key=gained.__getitem__)  # of equals the first
        gained[first] -= sum(weighing.values())
        assert chosen.slot == first


@given(away=st.integers(0, 100))
def test_who_was_away_is_not_flooded_afterwards(away):
    choose, workers = chooser(by_weight), idle(3)
    for _ in range(away):
        choose(workers[::2])
    taken = Counter(choose(workers).slot for _ in range(9))
    assert all(2 <= taken[slot] <= 4 for slot in range(3))
