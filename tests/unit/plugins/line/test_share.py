"""A share is used up by the clock, which is looked at less often the faster lines are."""

import pytest

from host.plugins.line.session import State
from host.plugins.line.share import _CAREFUL_LOOKS, _SHARE_SECONDS, TOGETHER, Share


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Shared(Share):
    """A share with one connection."""

    def __init__(self):
        super().__init__()
        self.state = State(100)

    @property
    def lines(self):
        return self.state.at_once

    def is_used_up(self):
        return super().is_used_up(self.state)


def begun():
    """Return a share that has just begun, and its clock."""
    share, clock = Shared(), Clock()
    share.clock, share.began = clock, clock.now
    return share, clock


def taken(share, clock, seconds_a_line, turns=1):
    """Answer lines that take so long; return how many there are in the last turn."""
    for _ in range(turns):
        lines, share.began = 0, clock.now
        while True:
            lines += share.lines
            clock.now += seconds_a_line * share.lines
            if share.is_used_up():
                break
    return lines


def test_a_share_is_used_up_when_its_time_is_over():
    share, clock = begun()
    assert not share.is_used_up()
    clock.now += _SHARE_SECONDS * 0.99
    assert not share.is_used_up()
    clock.now += _SHARE_SECONDS * 0.02
    assert share.is_used_up()
    assert share.is_used_up()
    share.began = clock.now
    assert not share.is_used_up()


@pytest.mark.parametrize("seconds", [1e-6, 5e-6, 2e-5])
def test_fast_lines_are_answered_many_at_a_time(seconds):
    share, clock = begun()
    lines = taken(share, clock, seconds, turns=5)
    assert share.lines == TOGETHER
    assert lines * seconds <= _SHARE_SECONDS + TOGETHER * seconds


@pytest.mark.parametrize("seconds", [2e-4, 1e-3, 5e-3, 1.0])
def test_of_slow_lines_a_turn_has_no_more_than_its_time_allows_twice(seconds):
    share, clock = begun()
    assert taken(share, clock, seconds) <= TOGETHER
    for _ in range(20):
        assert taken(share, clock, seconds) * seconds <= max(seconds, 2 * _SHARE_SECONDS)


def test_of_lines_that_nobody_knows_yet_one_is_answered_first():
    share, clock = begun()
    assert share.lines == 1
    assert taken(share, clock, 1.0) == 1


def test_lines_that_become_fast_are_answered_many_at_a_time_again():
    share, clock = begun()
    taken(share, clock, 0.01)
    assert share.lines == 1
    taken(share, clock, 1e-6)
    assert share.lines == TOGETHER


def test_fast_lines_of_one_connection_tell_nothing_of_those_of_another():
    share, clock = begun()
    taken(share, clock, 1e-6)
    other = State(100)
    assert (share.lines, other.at_once) == (TOGETHER, 1)


def test_who_had_lines_that_were_far_too_slow_is_looked_at_after_each_for_long():
    share, clock = begun()
    taken(share, clock, 1e-6)
    share.began = clock.now
    clock.now += TOGETHER * 0.25
    assert share.is_used_up()
    for looks in range(_CAREFUL_LOOKS + 1):
        assert share.lines == 1, looks
        share.began = clock.now
        assert not share.is_used_up()
    assert share.lines == 2


def test_who_comes_just_after_a_share_was_used_up_waits():
    share, clock = begun()
    assert not share.was_just_used_up()
    share.ended = clock.now
    assert share.was_just_used_up()
    clock.now += 0.01
    assert not share.was_just_used_up()
