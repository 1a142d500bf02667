"""Rates are worked out from one look to the next, in the host's own time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.cli.history import History, Measured, sparkline
from support.fake_host import LISTENER, STATUS, worker


def look(at, *workers, accepted=0, **more):
    """Return a state `at` seconds after the start."""
    listeners = [LISTENER | {"accepted": accepted}]
    found = {"uptime_seconds": float(at), "workers": list(workers), "listeners": listeners}
    return STATUS | found | more


def busy(age, slot=0, active=2, **more):
    """Return a worker that accepts 10, has 100 events, and needs half a CPU, each second."""
    counts = {"accepted": 10 * age, "reads": 100 * age, "cpu_seconds": age / 2}
    return worker(slot, age_seconds=float(age), active=active, **counts | more)


PID = busy(1)["pid"]


def history(*looks):
    made = History()
    for each in looks:
        made.update(each)
    return made


def test_at_the_first_look_rates_are_averages_since_the_start():
    made = history(look(100, busy(20), cpu_seconds=25.0))
    assert made.worker(PID) == Measured(2, 10.0, 100.0, 0.5)
    assert made.supervisor == 0.25
    assert made.listener(0) is None


def test_then_they_are_of_the_time_between_two_looks():
    made = history(
        look(100, busy(20), accepted=500, cpu_seconds=25.0),
        look(102, busy(22, accepted=260, reads=2000, cpu_seconds=12.0), accepted=540),
    )
    assert made.worker(PID) == Measured(2, 30.0, 0.0, 1.0)
    assert made.listener(0) == 20.0


def test_all_workers_are_added_up_and_what_is_not_known_is_left_out():
    made = history(look(100, busy(20), busy(20, slot=1, reads=None), busy(20, slot=2)))
    assert made.total == Measured(6, 30.0, 200.0, 1.5)
    made = history(look(100, busy(20, reads=None, cpu_seconds=None)))
    assert made.total == Measured(2, 10.0, None, None)
    assert history(look(100)).total == Measured(0, 0, 0, 0)


def test_a_look_that_comes_too_soon_changes_no_rate():
    made = history(look(100, busy(20)), look(100.01, busy(20.01, accepted=900)))
    assert made.worker(PID).accepted == 10.0
    assert len(made.past("cpu")) == 1
    made.update(look(102, busy(22, accepted=400)))
    assert made.worker(PID).accepted == 100.0


def test_a_count_that_begins_anew_makes_no_rate_negative():
    again = look(102, busy(22, accepted=0, reads=0, cpu_seconds=0.0), accepted=0)
    made = history(look(100, busy(20), accepted=500), again)
    assert made.worker(PID) == Measured(2, 0.0, 0.0, 0.0)
    assert made.listener(0) == 0


def test_a_pid_that_is_given_again_is_another_worker():
    assert history(look(100, busy(20)), look(102, busy(1))).worker(PID).events == 100.0


def test_a_new_generation_counts_its_listeners_anew():
    made = history(look(100, accepted=500), look(102, accepted=7, generation=2))
    assert made.listener(0) is None
    made.update(look(103, accepted=9, generation=2))
    assert made.listener(0) == 2.0


def test_nothing_is_known_of_a_worker_that_has_ended_or_was_not_seen_yet():
    made = history(look(100, busy(20)), look(102))
    assert made.worker(PID) == Measured(None, None, None, None)
    assert made.past("cpu", PID) == []


def test_another_host_of_that_name_begins_anew():
    made = history(look(100, busy(20)), look(1, busy(1), pid=82))
    assert made.past("events") == [100.0]
    assert made.supervisor == 900.0


def test_what_was_measured_is_kept_for_all_and_for_each():
    made = history(*(look(at, busy(at, active=at), busy(at, slot=1)) for at in range(1, 400)))
    assert made.past("active")[-2:] == [400, 401]
    assert made.past("active", PID)[-2:] == [398, 399]
    assert (len(made.past("cpu")), len(made.past("cpu", PID))) == (300, 120)


@pytest.mark.parametrize(
    ("values", "width", "drawn"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7, 8], 9, "▁▂▃▄▅▆▇██"),
        ([5, 5], 4, "  ██"),
        ([0, 0], 2, "▁▁"),
        ([9, 0, 8], 2, "▁█"),
        ([1, None, 1], 3, "█ █"),
        ([], 3, "   "),
        ([1], 0, ""),
    ],
)
def test_a_line_of_bars(values, width, drawn):
    assert sparkline(values, width) == drawn


@given(st.lists(st.none() | st.floats(0, 1e9)), st.integers(0, 20))
def test_a_line_is_as_wide_as_it_is_told_to_be_and_ascii_where_there_is_nothing_else(values, width):
    assert len(sparkline(values, width)) == width
    assert sparkline(values, width, ascii_only=True).isascii()
