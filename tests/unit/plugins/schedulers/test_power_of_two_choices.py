"""Of two that are drawn the less loaded is taken, and all pairs are drawn alike."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from support.schedulers import CANDIDATES, View, chooser, idle, power_of_two


@given(seed=st.integers(), loads=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_of_two_it_takes_the_less_loaded(seed, loads):
    workers = (View(3, active=loads[0]), View(5, outstanding=loads[1]))
    assert chooser(lambda: power_of_two(seed))(workers).load == min(loads)


@given(seed=st.integers(), workers=CANDIDATES)
def test_never_takes_the_one_that_is_more_loaded_than_all_others(seed, workers):
    loads = sorted(view.load for view in workers)
    if len(loads) > 1 and loads[-1] > loads[-2]:
        choose = chooser(lambda: power_of_two(seed))
        assert all(choose(workers).load < loads[-1] for _ in range(20))


def test_each_pair_is_drawn_alike():
    # Slot k is taken when it is drawn with a slot above it: 3, 2, 1 and 0 of the 6 pairs.
    workers = tuple(View(slot, active=slot) for slot in range(4))
    choose = chooser(power_of_two)
    taken = Counter(choose(workers).slot for _ in range(6000))
    assert [round(taken[slot] / 1000) for slot in range(4)] == [3, 2, 1, 0]


def test_among_equals_all_are_taken_alike():
    workers, choose = idle(4), chooser(power_of_two)
    taken = Counter(choose(workers).slot for _ in range(4000))
    assert [round(taken[slot] / 1000) for slot in range(4)] == [1, 1, 1, 1]


def test_a_seed_makes_its_choices_repeatable():
    def choices(seed):
        choose, workers = chooser(lambda: power_of_two(seed)), idle(8)
        return [choose(workers).slot for _ in range(50)]

    assert choices(5) == choices(5)
    assert choices(5) != choices(6)
    assert choices(None) != choices(None)
