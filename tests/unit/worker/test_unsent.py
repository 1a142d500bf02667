"""The bytes that wait in a whole worker: counted as they come and go, and bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.interfaces import CloseReason
from host.runtime.loop import WRITE
from host.worker.unsent import UnsentBytes
from support.connections import Worker

TOO_MUCH = CloseReason.WORKER_UNSENT_LIMIT


class Slow:
    """A connection with so many bytes unsent."""

    def __init__(self, bytes_, unsent):
        self.unsent, self._bytes = unsent, bytes_
        self.reason = None

    def give_up(self, reason):
        self._bytes.remove(self.unsent)
        self.unsent, self.reason = 0, reason


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=30), st.integers(0, 3000))
def test_those_with_the_most_go_until_a_sixteenth_is_free(sizes, limit):
    bytes_, slow = UnsentBytes(limit), []
    for size in sizes:
        before = bytes_.total
        slow.append(Slow(bytes_, size))
        alive = sorted(each.unsent for each in slow if each.reason is None)
        bytes_.add(size, [each for each in slow if each.reason is None])
        left = sorted(each.unsent for each in slow if each.reason is None)
        assert bytes_.total == sum(left)
        if limit == 0 or before + size <= limit:
            assert left == alive
        else:
            assert left == alive[: len(left)]  # the largest have gone
            assert bytes_.total <= limit * 15 / 16
            assert sum(alive[: len(left) + 1]) > limit * 15 / 16, "one more than had to"


@pytest.fixture
def worker():
    return Worker(high_water=10, max_unsent=1000, unsent_in_all=100)


def stalled(worker, size, takes=(0,)):
    """A connection to which so many bytes are written and not sent."""
    connection, sock = worker.connect(b"x", takes=list(takes))
    worker.handler = lambda connection: (connection.read(), connection.write(b"1" * size))
    worker.turn(connection)
    return connection, sock


def test_what_waits_is_counted_until_it_is_sent_or_given_up(worker):
    total = lambda: worker.context.connections.unsent.total  # noqa: E731
    one, _ = stalled(worker, 30, takes=[10, 5, 15])
    assert total() == 20
    one.write(b"2" * 7)
    assert total() == 27
    worker.turn(one, WRITE)
    assert total() == 22
    other, _ = stalled(worker, 50)
    assert total() == 72
    other.cut(CloseReason.OPERATOR)
    assert total() == 22
    worker.turn(one, WRITE)
    assert total() == 7
    one.close()
    assert total() == 7  # it is still to be sent
    one.cut(CloseReason.DEADLINE)
    assert total() == 0


def test_above_the_limit_the_largest_is_closed_whoever_exceeds_it(worker):
    large, sock = stalled(worker, 60)
    small, _ = stalled(worker, 30)
    assert worker.reasons == []
    stalled(worker, 20)
    worker.end_turn()
    assert worker.reasons == [TOO_MUCH]
    assert (sock.closed, large.closed, small.closed) == (True, True, False)
    assert worker.context.connections.unsent.total == 50


def test_the_one_that_exceeds_it_may_be_the_largest_itself(worker):
    stalled(worker, 30)
    large, sock = stalled(worker, 90)
    worker.end_turn()
    assert worker.reasons == [TOO_MUCH]
    assert (sock.closed, large.unsent) == (True, 0)
    one, _ = stalled(worker, 40)
    one.write(b"3" * 31)
    one.write(b"4")
    worker.end_turn()
    assert worker.reasons == [TOO_MUCH, TOO_MUCH]
    assert one.closed
    assert worker.context.connections.unsent.total == 30
