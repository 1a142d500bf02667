"""What `top` draws fits the screen, whatever it is, and shows what matters most."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from host.cli.frame import Size, frame
from host.cli.history import History
from host.cli.top import ORDERS, View, brief, once, percent
from support.fake_host import EVIL, LISTENER, SPELLED, STATUS, TROUBLED, worker

SECOND = {"age_seconds": 201.0, "accepted": 10_000_500, "reads": 4_012_345, "cpu_seconds": 50.25}
"""What has become of a worker a second later."""


def seen(*states):
    history = History()
    for state in states:
        history.update(state)
    return history


def drawn(status, width=80, height=24, note="", view=None, history=None):
    output = io.StringIO()
    console = Console(
        width=width, height=height, file=output, force_terminal=True, color_system=None
    )
    history = history or seen(status)
    console.print(frame(status, history, view or View(), Size(width, height), note))
    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= max(height, 6)
    assert "\x1b" not in output.getvalue()
    return [line.rstrip() for line in lines]


def many(count, **more):
    return STATUS | {"workers": [worker(slot, **more) for slot in range(count)]}


def test_a_frame_of_80_columns():
    later = STATUS | {"uptime_seconds": 90_001.0, "cpu_seconds": 900.125}
    later |= {"workers": [worker(0, **SECOND), worker(1, **SECOND)]}
    later |= {"listeners": [LISTENER | {"accepted": 20_001_000}]}
    assert drawn(later, history=seen(STATUS, later)) == [
        "fake 0.1.0: serving, ready; pid 81, generation 1, up 1d",
        "2 of 2 workers serving; 0 restarts; scheduler: least_connections, round_robin",
        "supervisor: 12% of a CPU",
        "",
        "ALL          NOW HIGHEST HISTORY",
        f"active     24690   24690 {'██':>55}",
        f"accepted/s  1000    100k {'█▁':>55}",
        f"events/s   24690   40000 {'█▅':>55}",
        f"cpu          50%     50% {'██':>55}",
        "",
        "LISTENER             PLUGIN WAITING ACCEPTED ACCEPTED/S SPURIOUS REFUSED",
        "tcp://127.0.0.1:7000 echo         0      20M       1000        5       0",
        "",
        "SLOT     PID GEN STATE   ACTIVE ACCEPTED/S EVENTS/S CPU MEMORY   TURN AGE",
        "   0 4000000   1 serving  12345        500    12345 25%    31M 12.3ms  3m",
        "   1 4000001   1 serving  12345        500    12345 25%    31M 12.3ms  3m",
        "by slot; q quit  r reverse  s slot  c cpu  e events  n accepted  a active  m me…",
    ]


def test_a_narrow_one_has_what_matters_most():
    lines = drawn(STATUS, 40)
    assert "SLOT STATE   ACTIVE EVENTS/S CPU" in lines
    assert "LISTENER             WAITING ACCEPTED/S" in lines
    assert "fake 0.1.0: serving, ready; pid 81," in lines


def test_a_wide_one_has_the_history_of_each_worker():
    assert any(line.startswith("SLOT") and "HISTORY" in line for line in drawn(STATUS, 160))


def test_of_many_workers_there_are_as_many_as_fit_also_side_by_side():
    lines = drawn(many(100))
    assert sum(" serving " in line for line in lines) == 9
    assert len(lines) == 24
    assert lines[-1].startswith("workers 1 to 9 of 100; by slot; q quit")
    lines = drawn(many(100), 300, 40)
    assert lines[13].count("SLOT ") == 4
    assert sum(line.count(" serving ") for line in lines) == 100
    assert not lines[-1].startswith("workers")


def test_hundreds_of_workers_are_gone_through_by_keys():
    view, status = View(), many(100)
    for key in ("up", "down", "down", "page down", "x"):
        view.press(key, 100)
    assert drawn(status, view=view)[-1].startswith("workers 13 to 21 of 100; ")
    for _ in range(20):
        view.press("page down", 100)
    assert drawn(status, view=view)[-1].startswith("workers 92 to 100 of 100; ")
    view.press("home", 100)
    assert drawn(status, view=view)[-1].startswith("workers 1 to 9 of 100; ")
    view.press("down", 100)
    view.press("c", 100)
    assert (view.order, view.first) == ("cpu", 0)


@pytest.mark.parametrize(
    ("key", "order", "first"),
    [
        ("s", "slot", 0),
        ("c", "cpu", 3),
        ("e", "events", 2),
        ("n", "accepted", 1),
        ("a", "active", 3),
        ("m", "memory", 2),
        ("t", "turn", 1),
        ("o", "age", 2),
    ],
)
def test_a_key_puts_the_workers_in_an_order_and_another_one_turns_it_around(key, order, first):
    found = [
        worker(0),
        worker(1, accepted=90_000_000, turn_seconds=9.0),
        worker(2, reads=2**40, memory_bytes=2**40, age_seconds=900.0, cpu_seconds=None),
        worker(3, cpu_seconds=190.0, active=20_000, memory_bytes=None),
    ]
    status, view = STATUS | {"workers": found}, View("cpu", reverse=True)
    view.press(key, 4)
    assert (view.order, view.reverse) == (order, False)
    assert ORDERS[order].key == key
    in_order = [each["slot"] for each in view.sorted(status, seen(status))]
    assert in_order[0] == first
    view.press("r", 4)
    reversed_ = [each["slot"] for each in view.sorted(status, seen(status))]
    if order == "slot":
        assert (in_order, reversed_) == ([0, 1, 2, 3], [3, 2, 1, 0])
    unknown = {"cpu": 2, "memory": 3}.get(order)
    if unknown is not None:
        assert (in_order[-1], reversed_[-1]) == (unknown, unknown)


def test_a_frame_of_troubles_harms_no_terminal():
    lines = drawn(TROUBLED, note=f"no answer {EVIL}")
    assert lines[0] == f"no answer {SPELLED}"
    assert any(line.startswith("worker 1 (pid 77) hung 1m ago") for line in lines)


@settings(max_examples=50, deadline=None)  # the largest take half a second where others run
@given(
    st.integers(1, 320),
    st.integers(1, 100),
    st.integers(0, 300),
    st.integers(0, 60),
    st.sampled_from(list(ORDERS)),
)
def test_any_frame_fits(width, height, count, listeners, order):
    found = [
        LISTENER | {"index": each, "address": "tcp://" + "x" * each} for each in range(listeners)
    ]
    drawn(many(count) | {"listeners": found}, width, height, view=View(order))


def test_a_look_at_one_moment_has_averages_since_the_start():
    texts = [part if isinstance(part, str) else part.plain() for part in once(STATUS, View())]
    assert texts[0].endswith("\nsupervisor: 1.0% of a CPU")
    assert "ACCEPTED/S  EVENTS/S  CPU" in texts[2]
    assert "     50000     20000  25%" in texts[2]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, None),
        (0, "0"),
        (0.04, "0"),
        (0.5, "0.5"),
        (2.0, "2"),
        (9.96, "10"),
        (99_999, "99999"),
        (100_000, "100k"),
        (999_499, "999k"),
        (999_999, "1.0M"),
        (2_449_999, "2.4M"),
        (12_345_678, "12M"),
        (5e9, "5.0G"),
        (1e12, "1.0T"),
        (1e15, "1000T"),
    ],
)
def test_a_count_in_brief(count, text):
    assert brief(count) == text


@pytest.mark.parametrize(
    ("part", "text"),
    [(None, None), (0.0, "0%"), (0.004, "0.4%"), (0.0996, "10%"), (0.854, "85%"), (2.5, "250%")],
)
def test_a_part_of_a_cpu(part, text):
    assert percent(part) == text
