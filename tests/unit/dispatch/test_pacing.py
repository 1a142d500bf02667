"""A listener with a rate hands out no more than that, loses nobody, and delays no stop."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.dispatch.pacing import PacedQueue
from host.ipc.scoreboard import CLAIMED, SENT, Scoreboard


class Queue:
    """A backlog, and workers that take at once whatever they are told to."""

    def __init__(self, rate, claims=True):
        self.now, self.waiting, self.given, self.claims = 0.0, 0, [], claims
        self.planned = []
        self.is_shut = False
        self.scoreboard = Scoreboard(1)
        self.row = self.scoreboard.use(0, 0)
        later = lambda seconds, call: self.planned.append((self.now + seconds, call))  # noqa: E731
        self.paced = PacedQueue(
            lambda: self.waiting,
            self.scoreboard,
            0,
            rate,
            later,
            lambda: self.is_shut,
            clock=lambda: self.now,
        )
        self.paced.run_pass = self.run_pass

    def run_pass(self):
        """Hand out what the queue shows, as the dispatcher does."""
        need = self.paced() - (self.row.count(0, SENT) - self.row.count(0, CLAIMED))
        for _ in range(max(0, need)):
            self.row.add(0, SENT)
            self.given.append(self.now)
            if self.claims:
                self.row.add(0, CLAIMED)
                self.waiting -= 1

    def come(self, count):
        self.waiting += count
        self.run_pass()

    def advance(self, seconds):
        end = self.now + seconds
        while self.planned and min(self.planned)[0] <= end:
            self.planned.sort(key=lambda each: each[0])
            self.now, call = self.planned.pop(0)
            call()
        self.now = end

    def close(self):
        self.scoreboard.close()


@pytest.fixture
def queue():
    made = []

    def make(*args, **kwargs):
        made.append(Queue(*args, **kwargs))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_those_beyond_the_rate_wait_and_are_not_lost(queue):
    line = queue(100)
    line.come(50)
    assert len(line.given) == 10
    line.advance(0.1)
    assert 19 <= len(line.given) <= 21
    line.advance(1)
    assert (len(line.given), line.waiting, line.planned) == (50, 0, [])


def test_a_rate_below_one_a_second_holds(queue):
    line = queue(0.5)
    line.come(3)
    line.advance(1.9)
    assert len(line.given) == 1
    line.advance(2.2)
    assert len(line.given) == 3


def test_what_is_not_claimed_yet_is_not_handed_out_twice(queue):
    line = queue(100, claims=False)
    line.come(10)
    line.advance(0.5)
    assert len(line.given) == 10


def test_how_many_wait_in_truth_is_known(queue):
    line = queue(100)
    line.come(50)
    assert (line.paced(), line.paced.length()) == (0, 40)


def test_a_stop_hands_out_all(queue):
    line = queue(1)
    line.come(500)
    line.is_shut = True
    line.run_pass()
    assert len(line.given) == 500


@given(
    st.floats(0.5, 500),
    st.lists(st.tuples(st.integers(0, 60), st.floats(0, 2)), min_size=1, max_size=10),
)
def test_in_no_second_are_there_more_than_the_rate_and_what_may_come_at_once(rate, arrivals):
    line = Queue(rate)
    for count, seconds in arrivals:
        line.come(count)
        line.advance(seconds)
    total = sum(count for count, _ in arrivals)
    line.advance(total / rate + 3)
    assert (len(line.given), line.waiting) == (total, 0)
    most = rate + max(1.0, rate * 0.1) + 1
    for index, began in enumerate(line.given):
        assert sum(began <= each < began + 1 for each in line.given[index:]) <= most
    line.close()
