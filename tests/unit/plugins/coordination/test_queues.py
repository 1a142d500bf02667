"""Messages outlive workers: whole, in their order, and only where there is room."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.plugins.coordination import AGAIN_SECONDS, Queues, items_of
from host.testing import Harness

PIECE_BYTES = 65_000


class Place:
    """A worker with queues."""

    def __init__(self, worker):
        self.worker, self.queues = worker, Queues(worker, "mail")

    def put(self, data, queue="ann"):
        """Put a message into a queue; return its key, and a list that will have the answer."""
        key, answers = self.queues.key(data), []
        self.queues.put(queue, key, data, answers.append)
        self.worker.run()
        return key, answers

    def read(self, queue="ann"):
        found = []
        self.queues.read(queue, found.append)
        self.worker.run()
        return found[0]

    def names(self, queue="ann"):
        return self.wait(items_of(self.worker.bus.table(f"mail.{queue}")))

    def wait(self, coroutine):
        task = self.worker.asyncio.create_task(coroutine)
        self.worker.run()
        return task.result()


@pytest.fixture
def start(harness):
    """Return what starts workers: the harness and a place for each."""

    def start(workers=2):
        started = harness(workers=workers)
        return started, *(Place(worker) for worker in started.workers)

    return start


def test_a_key_is_for_messages_of_its_length(start):
    _, one, _ = start()
    key = one.queues.key(b"x" * 65_000)
    with pytest.raises(ValueError, match="another length"):
        one.queues.put("ann", key, b"x" * 64_999, lambda _: None)
    assert one.names() == {}


def test_any_worker_reads_what_one_has_put_into_a_queue(start):
    started, one, other = start()
    key, answers = one.put(b"hello")
    assert answers == [True]
    assert other.read() == {key: b"hello"}
    assert other.read("bob") == {}
    started.kill(0)
    assert other.read() == {key: b"hello"}
    other.queues.remove("ann", key)
    other.queues.remove("ann", key)
    assert other.names() == {}


@pytest.mark.parametrize("clock", ["stands still", "goes back"])
def test_messages_come_in_the_order_of_their_keys(start, monkeypatch, clock):
    _, one, other = start()
    times = iter(range(10**18, 0, -1))
    monkeypatch.setattr(time, "time_ns", lambda: 7 if clock == "stands still" else next(times))
    keys = [one.queues.key(b"") for _ in range(20)]
    assert keys == sorted(set(keys))
    for number in reversed(range(20)):
        one.queues.put("ann", keys[number], b"%d" % number, lambda _: None)
    assert list(other.read().items()) == [(keys[each], b"%d" % each) for each in range(20)]


def test_keys_of_several_workers_differ_and_are_in_the_order_of_time(start, monkeypatch):
    _, one, other = start()
    monkeypatch.setattr(time, "time_ns", lambda: 7)
    assert one.queues.key(b"") != other.queues.key(b"")
    monkeypatch.setattr(time, "time_ns", lambda: 99)
    later = one.queues.key(b"")
    monkeypatch.setattr(time, "time_ns", lambda: 100)
    assert later < other.queues.key(b"")


@pytest.mark.parametrize(
    "size", [0, 1, 64_999, 65_000, 65_001, 65_536, 130_000, 130_001, 1_048_576]
)
def test_a_message_of_any_length_comes_whole(start, size):
    _, one, other = start()
    data = bytes(each % 251 for each in range(size))
    key, answers = one.put(data)
    assert answers == [True]
    assert other.read() == {key: data}
    assert max(len(each) for each in other.names().values()) <= PIECE_BYTES
    other.queues.remove("ann", key)
    assert other.names() == {}


@given(st.lists(st.integers(0, 200_000), max_size=6), st.data())
def test_whatever_is_put_and_removed_what_is_left_is_read_in_order(sizes, data):
    with Harness(workers=2) as started:
        one, other = (Place(worker) for worker in started.workers)
        kept = {}
        for number, size in enumerate(sizes):
            message = b"%d" % number * size
            kept[one.put(message)[0]] = message
        for key in data.draw(st.lists(st.sampled_from(list(kept)), unique=True)) if kept else ():
            other.queues.remove("ann", key)
            del kept[key]
        assert list(other.read().items()) == list(kept.items())


def test_one_key_goes_into_several_queues(start):
    _, one, other = start()
    key = one.queues.key(b"to all")
    for name in ("ann", "bob"):
        one.queues.put(name, key, b"to all", lambda _: None)
    other.queues.remove("ann", key)
    assert (other.read("ann"), other.read("bob")) == ({}, {key: b"to all"})


def test_a_message_of_which_a_piece_is_missing_is_left_out(start):
    _, one, other = start()
    key, _ = one.put(2 * PIECE_BYTES * b"x")
    after, _ = one.put(b"y")
    assert sorted(other.names()) == [f"{key}.{each:02}" for each in range(3)] + [f"{after}.00"]
    for number in (1, 2, 0):
        other.worker.bus.table("mail.ann").delete(f"{key}.{number:02}")
        assert other.read() == {after: b"y"}


def test_a_full_queue_refuses_a_message_and_has_nothing_of_it(start):
    _, one, other = start()
    keys = [one.put(1_000_000 * b"x") for _ in range(4)]
    assert [answers for _, answers in keys] == [[True]] * 4
    before = other.names()
    _, answers = one.put(500_000 * b"x")  # of which some pieces have room
    assert answers == [False]
    assert other.names() == before
    assert list(other.read()) == [each for each, _ in keys]
    assert one.put(500_000 * b"x", "bob")[1] == [True]
    one.queues.remove("ann", keys[0][0])
    assert one.put(500_000 * b"x")[1] == [True]


def test_a_message_waits_for_a_broker_that_is_away(start):
    started, one, other = start()
    started.bus.away = True
    key, answers = one.put(200_000 * b"x")
    assert answers == []
    assert other.read() is None
    started.advance(60)
    assert answers == []
    started.bus.away = False
    started.run()
    assert answers == [True]
    assert other.read() == {key: 200_000 * b"x"}


def test_what_is_put_and_published_keeps_its_order(start):
    started, one, other = start()
    seen = []
    other.worker.bus.subscribe("t", lambda _: other.queues.read("ann", seen.append))
    started.bus.away = True
    key, _ = one.put(b"hello")
    one.worker.bus.publish("t", b"")
    started.bus.away = False
    started.run()
    assert seen == [{key: b"hello"}]


def test_a_message_of_which_nobody_knows_is_taken_out_again(start):
    started, one, other = start()
    key, _ = one.put(100_000 * b"x")
    started.bus.overloaded = True
    answers = []
    one.queues.put("ann", key, 100_000 * b"x", answers.append)  # perhaps it is there: it is
    started.advance(0)
    assert answers == [None]
    started.advance(5 * AGAIN_SECONDS)
    started.bus.overloaded = False
    started.advance(AGAIN_SECONDS)
    assert other.names() == {}


def test_a_message_is_removed_in_the_end_though_the_bus_is_overloaded(start):
    started, one, other = start()
    key, _ = one.put(100_000 * b"x")
    started.bus.overloaded = True
    one.queues.remove("ann", key)
    started.advance(5 * AGAIN_SECONDS)
    started.bus.overloaded = False
    assert list(other.read()) == [key]
    started.advance(AGAIN_SECONDS)
    assert other.names() == {}


def test_a_queue_is_emptied(start):
    _, one, other = start()
    one.put(100_000 * b"x")
    other.put(b"y")
    kept, _ = one.put(b"z", "bob")
    one.wait(one.queues.clear("ann"))
    assert other.names() == {}
    assert other.read("bob") == {kept: b"z"}


def test_a_queue_is_emptied_of_what_one_worker_has_put_there_so_far(start):
    _, one, other = start()
    one.put(100_000 * b"1")
    foreign, _ = other.put(b"2")
    last, _ = one.put(b"3")
    after, _ = one.put(b"4")
    one.wait(one.queues.clear("ann", own_until=last))
    assert other.read() == {foreign: b"2", after: b"4"}
    assert len(other.names()) == 2


def test_a_worker_of_whose_name_the_end_is_another_ones_keeps_its_messages(start):
    """Members of two hosts are called `example:7` and `www.example:7`, say."""
    _, one, other = start()
    one.put(b"1")
    member = one.worker.bus.member
    other.worker.bus.member = f"www.{member}"
    kept, _ = other.put(b"2")
    one.wait(one.queues.clear("ann", own_until="~"))
    assert other.read() == {kept: b"2"}


def test_a_queue_is_emptied_as_soon_as_it_is_known_what_it_has(start):
    started, one, other = start()
    one.put(b"1")
    started.bus.away = True
    task = one.worker.asyncio.create_task(one.queues.clear("ann"))
    started.advance(5 * AGAIN_SECONDS)
    assert not task.done()
    started.bus.away = False
    started.advance(AGAIN_SECONDS)
    assert task.done()
    assert other.names() == {}
