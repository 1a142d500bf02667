"""The loop calls what belongs to an event, a deadline, or another thread: in order, and once."""

import os
import threading
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.runtime.loop import EDGE, READ, WRITE, Loop


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def loop(clock):
    loop = Loop(clock=clock)
    yield loop
    loop.close()


@contextmanager
def eventfd(value=0):
    fd = os.eventfd(value, os.EFD_NONBLOCK)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
def ready():
    with eventfd(1) as fd:
        yield fd


def test_a_handler_is_called_with_what_has_happened(loop, ready):
    masks = []
    loop.add(ready, READ | WRITE, masks.append)
    loop.run_once(0)
    assert masks == [READ | WRITE]


def test_an_event_that_is_not_handled_comes_again(loop, ready):
    masks = []
    loop.add(ready, READ, masks.append)
    loop.run_once(0)
    loop.run_once(0)
    assert masks == [READ, READ]


def test_an_edge_comes_once(loop, ready):
    masks = []
    loop.add(ready, READ | EDGE, masks.append)
    loop.run_once(0)
    loop.run_once(0)
    assert masks == [READ]
    os.eventfd_write(ready, 1)
    loop.run_once(0)
    assert masks == [READ, READ]


def test_what_is_watched_for_can_be_changed(loop, ready):
    masks = []
    loop.add(ready, READ, masks.append)
    loop.modify(ready, WRITE)
    loop.run_once(0)
    loop.modify(ready, 0)
    loop.run_once(0)
    assert masks == [WRITE]


def test_what_is_removed_is_watched_no_more(loop, ready):
    masks = []
    loop.add(ready, READ, masks.append)
    loop.remove(ready)
    loop.remove(ready)
    loop.run_once(0)
    assert masks == []


def test_a_handler_may_remove_another_one_of_the_same_turn(loop, ready):
    with eventfd(1) as second:
        called = []

        def first_of(fd, other):
            def handler(mask):
                called.append(fd)
                loop.remove(other)

            return handler

        loop.add(ready, READ, first_of(ready, second))
        loop.add(second, READ, first_of(second, ready))
        loop.run_once(0)
        assert len(called) == 1


def test_no_more_events_are_handled_at_once_than_allowed(clock, ready):
    loop = Loop(max_events=1, clock=clock)
    with eventfd(1) as second:
        called = []
        loop.add(ready, READ, called.append)
        loop.add(second, READ, called.append)
        loop.run_once(0)
        assert called == [READ]
    loop.close()


def test_a_turn_has_one_time_a_beginning_and_an_end(loop, clock, ready):
    story = []

    def handler(mask):
        clock.now += 5
        story.append(("event", loop.now))

    loop.on_turn_begin = lambda: story.append(("wake", loop.now))
    loop.on_turn_end = lambda: story.append(("rest", loop.now))
    loop.add(ready, READ, handler)
    loop.call_at(100.0, lambda: story.append(("timer", loop.now)))
    clock.now = 101.0
    loop.run_once(0)
    assert story == [("wake", 101.0), ("event", 101.0), ("timer", 101.0), ("rest", 101.0)]


def test_a_call_is_made_when_it_is_due_and_not_before(loop, clock):
    called = []
    loop.call_at(101.0, lambda: called.append(loop.now))
    loop.run_once(0)
    assert called == []
    clock.now = 101.0
    loop.run_once(0)
    loop.run_once(0)
    assert called == [101.0]


def test_calls_due_at_the_same_time_are_made_in_order(loop):
    called = []
    for number in range(5):
        loop.call_at(99.0, lambda number=number: called.append(number))
    loop.run_once(0)
    assert called == [0, 1, 2, 3, 4]


def test_of_slow_timers_after_fast_ones_eight_are_run_in_a_turn(loop, clock):
    made = []

    def run(number):
        made.append(number)
        clock.now += 0.3 if number >= 16 else 0.0

    for number in range(40):
        loop.call_at(99.0, lambda number=number: run(number))
    loop.run_once(0)
    assert 16 < len(made) <= 16 + 8
    for _ in range(40):
        loop.run_once(0)
    assert made == list(range(40))


def test_calls_that_are_due_at_once_leave_events_their_turn_if_they_are_slow(loop, clock, ready):
    called, seen = [], []

    def slow(number):
        clock.now += 0.01
        called.append(number)

    for number in range(40):
        loop.call_at(99.0, lambda number=number: slow(number))
    loop.add(ready, READ, lambda _mask: seen.append(len(called)))
    while len(called) < 40:
        before = len(called)
        loop.run_once()
        assert before < len(called) <= before + 4
    assert seen[:3] == [0, 4, 8]
    assert called == list(range(40))


def test_fast_calls_that_are_due_at_once_are_made_in_one_turn(loop):
    called = []
    for number in range(1000):
        loop.call_at(99.0, lambda number=number: called.append(number))
    loop.run_once(0)
    assert called == list(range(1000))


def test_a_cancelled_call_is_not_made(loop):
    called = []
    timer = loop.call_at(99.0, lambda: called.append("cancelled"))
    loop.call_at(99.0, lambda: called.append("made"))
    timer.cancel()
    loop.run_once(0)
    timer.cancel()
    assert called == ["made"]


def test_cancelled_calls_do_not_pile_up_behind_one_that_is_due_sooner(loop):
    loop.call_at(101.0, lambda: None)
    for _ in range(10_000):
        loop.call_at(9999.0, lambda: None).cancel()
    assert len(loop._timers) < 200


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.booleans()), max_size=300))
def test_whatever_is_cancelled_the_others_are_called_in_order(calls):
    clock = Clock()
    loop = Loop(clock=clock)
    called, wanted, timers = [], [], []
    for number, (delay, cancelled, at_once) in enumerate(calls):
        timer = loop.call_at(100.0 + delay, lambda number=number: called.append(number))
        if not cancelled:
            wanted.append((delay, number))
        elif at_once:
            timer.cancel()
        else:
            timers.append(timer)
    for timer in timers:
        timer.cancel()
    clock.now = 200.0
    loop.run_once(0)
    loop.close()
    assert called == [number for _, number in sorted(wanted)]
    assert loop._cancelled == len(loop._timers) == 0


def test_a_call_may_cancel_another_of_the_same_turn(loop):
    called = []
    second = loop.call_at(99.0, lambda: called.append("second"))
    loop.call_at(98.0, second.cancel)
    loop.run_once(0)
    assert called == []


def test_a_call_that_is_due_does_not_wait_for_events(loop):
    called = []
    loop.call_at(99.0, lambda: called.append("made"))
    loop.run_once()
    assert called == ["made"]


@pytest.mark.parametrize(
    ("due", "timeout", "waits"),
    [
        (None, None, None),
        (None, 2.0, 2.0),
        (101.5, None, 1.5),
        (101.5, 2.0, 1.5),
        (101.5, 1.0, 1.0),
        (99.0, 2.0, 0.0),
    ],
)
def test_the_loop_waits_until_the_first_call_is_due_at_most(loop, due, timeout, waits):
    waited = []
    loop._poll = lambda seconds, _: waited.append(seconds) or []
    if due is not None:
        loop.call_at(due + 5, lambda: None)
        loop.call_at(due, lambda: None)
        loop.call_at(due - 5, lambda: None).cancel()
    loop.run_once(timeout)
    assert waited[0] == waits


def test_what_has_arrived_comes_before_timers_after_an_interrupted_wait(loop):
    polls = [[], [(77, 1)]]
    loop._poll = lambda seconds, _: polls.pop(0)
    story = []
    loop._handlers[77] = lambda mask: story.append("event")
    loop.call_at(99.0, lambda: story.append("timer"))
    loop.run_once()
    assert story == ["event", "timer"]


def test_a_call_from_another_thread_wakes_the_loop(loop):
    called = []
    thread = threading.Thread(target=lambda: loop.call_from_thread(lambda: called.append("made")))
    thread.start()
    while not called:
        loop.run_once()
    thread.join()
    assert called == ["made"]


def test_a_call_asked_for_by_a_call_is_made_in_the_next_turn(loop):
    called = []

    def first():
        called.append("first")
        loop.call_from_thread(lambda: called.append("second"))

    loop.call_from_thread(first)
    loop.run_once(0)
    assert called == ["first"]
    loop.run_once(0)
    assert called == ["first", "second"]


def test_calls_that_take_long_let_events_and_timers_come_in_between(loop, clock):
    story = []

    def take(name):
        story.append(name)
        clock.now += 0.0007

    with eventfd() as fd:
        loop.add(fd, READ, lambda _: story.append(os.eventfd_read(fd)))
        for name in "abcde":
            loop.call_from_thread(lambda name=name: take(name))
        loop.run_once(0)
        assert story == ["a", "b"]
        os.eventfd_write(fd, 7)
        loop.run_once()
        assert {*story[2:]} == {7, "c", "d"}
        loop.call_at(clock.now, lambda: story.append("timer"))
        loop.run_once()
        assert {*story[5:]} == {"timer", "e"}
        loop.run_once(0)
        assert len(story) == 7


def test_run_ends_with_the_turn_in_which_it_is_stopped(loop):
    story = []
    loop.on_turn_end = lambda: story.append("rest")
    loop.call_from_thread(lambda: (loop.stop(), story.append("stop")))
    loop.run()
    assert story == ["stop", "rest"]


def test_a_loop_can_be_watched_by_another(loop, clock):
    outer, called = Loop(clock=clock), []
    outer.add(loop.fileno(), READ, lambda _: loop.run_once(0))
    outer.run_once(0)
    loop.call_from_thread(lambda: called.append("made"))
    outer.run_once()
    assert called == ["made"]
    outer.close()


def test_closing_gives_back_every_descriptor():
    before = sorted(os.listdir("/proc/self/fd"))
    Loop().close()
    assert sorted(os.listdir("/proc/self/fd")) == before


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["keep", "cancel", "again"])), max_size=20
    )
)
def test_calls_are_made_in_the_order_in_which_they_are_due(plan):
    clock = Clock()
    clock.now = 0.0
    loop, made, expected = Loop(clock=clock), [], []

    def call(number, when, kind):
        made.append((when, number))
        assert when <= loop.now
        if kind == "again":
            loop.call_at(when + 20, lambda: made.append((when + 20, number)))

    for number, (when, kind) in enumerate(plan):
        timer = loop.call_at(when, lambda n=number, w=when, k=kind: call(n, w, k))
        if kind == "cancel":
            timer.cancel()
            continue
        expected.append((when, number))
        if kind == "again":
            expected.append((when + 20, number))
    for clock.now in range(40):
        loop.run_once(0)
    loop.close()
    assert made == sorted(expected)


def test_what_a_timer_asks_for_at_once_waits_for_the_next_turn(loop):
    called = []

    def again():
        called.append(loop.now)
        loop.call_at(loop.now, again)

    loop.call_at(loop.now, again)
    loop.run_once(0)
    assert len(called) == 1
    loop.run_once(0)
    assert len(called) == 2


def test_a_call_of_a_thread_that_comes_too_late_reaches_nobody():
    loop = Loop()
    loop.close()
    others = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(3)]  # one has the number of its own
    try:
        loop.call_from_thread(lambda: None)
        for other in others:
            with pytest.raises(BlockingIOError):
                os.eventfd_read(other)
    finally:
        for other in others:
            os.close(other)
