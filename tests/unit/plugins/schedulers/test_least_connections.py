"""The worker with the fewest connections is taken, and equals in turn."""

from hypothesis import given
from hypothesis import strategies as st

from host.plugins.schedulers.least_connections import LeastConnections
from support.schedulers import CANDIDATES, View, chooser, idle


@given(passes=st.lists(CANDIDATES, max_size=8))
def test_takes_one_with_the_fewest_in_turn(passes):
    choose, last = chooser(LeastConnections), -1
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
def test_arrivals_alone_never_widen_a_gap(count, events):
    """None is an arrival, a number ends one of the open connections."""
    choose, workers, opened = chooser(LeastConnections), idle(count), []
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


def test_what_is_on_its_way_counts():
    workers = (View(0, active=1), View(1, outstanding=2))
    assert chooser(LeastConnections)(workers).slot == 0
