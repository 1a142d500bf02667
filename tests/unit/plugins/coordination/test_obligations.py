"""What a worker has to do in the end is done, if not by it, then by another one."""

import pytest

from host import BUS_LOST, BUS_TAKEN
from host.bus.frames import Frame, Kind
from host.plugins.coordination import AGAIN_SECONDS, Obligations, items_of

KIND = "unpaid"
SWEEP_SECONDS = 60


class Place:
    """A worker that executes what it is told to, and says what `answer` is; None: nothing yet."""

    def __init__(self, worker):
        self.worker, self.executed, self.answer = worker, [], True
        self.unanswered = []
        self.obligations = Obligations(worker, KIND, self.execute)

    def execute(self, value, done):
        self.executed.append(value)
        if self.answer is None:
            self.unanswered.append(done)
        else:
            done(self.answer)

    def begin_to_keep(self, name="order", value=b"five"):
        return self.worker.asyncio.create_task(self.obligations.keep(name, value))

    def keep(self, name="order", value=b"five"):
        task = self.begin_to_keep(name, value)
        self.worker.advance(0)
        return task.result()

    def table(self):
        return self.worker.bus.table(KIND)

    def left(self):
        task = self.worker.asyncio.create_task(items_of(self.table()))
        self.worker.run()
        return sorted(task.result().values())


@pytest.fixture
def start(harness):
    """Return what starts workers: the harness and a place for each."""

    def start(workers=2, begun=True):
        started = harness(workers=workers)
        places = [Place(worker) for worker in started.workers]
        if begun:
            for place in places:
                place.obligations.start()
        started.run()
        return started, *places

    return start


def test_what_a_worker_leaves_that_dies_is_done_once(start):
    started, one, *others = start(4)
    assert one.keep("order", b"five")
    assert one.keep("bill", b"six")
    started.kill(0)
    assert sorted(others[0].executed + others[1].executed + others[2].executed) == [b"five", b"six"]
    assert others[0].left() == []
    started.advance(2 * SWEEP_SECONDS)
    assert sum(len(each.executed) for each in others) == 2
    assert one.executed == []


def test_what_workers_that_live_have_to_do_is_left_to_them(start):
    started, one, other, third = start(3)
    one.keep()
    other.keep("bill", b"six")
    third.keep("toll", b"seven")
    started.kill(0)
    started.advance(2 * SWEEP_SECONDS)
    assert sorted(other.executed + third.executed) == [b"five"]
    assert other.left() == [b"seven", b"six"]


def test_what_is_dropped_is_not_done(start):
    started, one, other = start()
    one.keep()
    one.obligations.drop("order")
    one.obligations.drop("order")
    one.obligations.drop("another")
    started.kill(0)
    started.advance(2 * SWEEP_SECONDS)
    assert (one.executed, other.executed) == ([], [])
    assert other.left() == []


def test_what_is_done_is_not_done_again(start):
    started, one, other = start()
    one.keep()
    one.obligations.execute("order")
    one.obligations.execute("order")
    one.obligations.execute("another")
    assert one.executed == [b"five"]
    started.kill(0)
    started.advance(2 * SWEEP_SECONDS)
    assert other.executed == []
    assert other.left() == []


def test_what_is_being_done_when_a_worker_dies_is_done_by_another_one(start):
    started, one, other = start()
    one.answer = None
    one.keep()
    one.obligations.execute("order")
    assert one.executed == [b"five"]
    assert one.left() == [b"five"]
    started.kill(0)
    assert other.executed == [b"five"]
    assert other.left() == []


def test_what_could_not_be_done_is_tried_again(start):
    started, one, _ = start()
    one.answer = False
    one.keep()
    one.obligations.execute("order")
    started.advance(2.5 * AGAIN_SECONDS)
    assert one.executed == [b"five"] * 3
    assert one.left() == [b"five"]
    one.answer = True
    started.advance(AGAIN_SECONDS)
    assert one.executed == [b"five"] * 4
    assert one.left() == []
    started.advance(2 * SWEEP_SECONDS)
    assert one.executed == [b"five"] * 4


def test_what_could_not_be_done_for_a_dead_worker_is_tried_again(start):
    started, one, other = start()
    other.answer = False
    one.keep()
    started.kill(0)
    assert other.executed == [b"five"]
    assert other.left() == [b"five"]
    other.answer = True
    started.advance(SWEEP_SECONDS)
    assert other.executed == [b"five"] * 2
    assert other.left() == []


def test_what_a_worker_leaves_that_dies_while_it_does_it_for_another_is_done(start):
    started, one, *others = start(3)
    for each in others:
        each.answer = None
    one.keep()
    started.kill(0)
    (heir,) = (each for each in others if each.executed)
    (rest,) = (each for each in others if each is not heir)
    rest.answer = True
    started.advance(2 * SWEEP_SECONDS)  # while it is being done nobody else does it
    assert rest.executed == []
    started.kill(heir.worker.slot)
    started.advance(SWEEP_SECONDS)
    assert rest.executed == [b"five"]
    assert rest.left() == []


def test_what_was_left_before_a_worker_has_begun_is_done(start):
    started, one, other = start(begun=False)
    one.obligations.start()
    started.run()
    one.keep()
    started.kill(0)
    assert other.executed == []
    other.obligations.start()
    started.run()
    assert other.executed == [b"five"]


def test_a_sweep_reads_the_table_once_if_nothing_is_left(start, monkeypatch):
    started, one = start(1)
    reads, items = [], one.obligations._table.items
    monkeypatch.setattr(
        one.obligations._table, "items", lambda done: reads.append(items(done)), raising=False
    )
    assert one.keep()
    started.advance(SWEEP_SECONDS)
    assert len(reads) == 1


def test_what_an_earlier_worker_of_the_same_name_has_left_is_done(start):
    started, one, other = start(begun=False)
    one.table().set(f"{one.worker.bus.member}/1f.1", b"six")
    one.obligations.start()
    started.run()
    assert one.keep()
    started.advance(2 * SWEEP_SECONDS)
    assert one.executed == [b"six"]
    assert other.left() == [b"five"]


def test_what_a_worker_keeps_that_is_only_taken_for_dead_is_left_to_it(start):
    started, one, other = start()
    one.keep()
    started.bus.declare_left(one.worker.pid)
    started.advance(2 * SWEEP_SECONDS)
    assert (one.executed, other.executed) == ([], [])
    started.kill(0)
    assert other.executed == [b"five"]


def lose(started, place):
    """Tell a worker that it has lost messages."""
    started.bus._send(place.worker.pid, Frame(Kind.LOST, 3, b"").pack())
    started.run()


@pytest.mark.parametrize("notices", ["sweeps", "is told"])
def test_what_the_table_has_lost_is_put_back(start, notices):
    started, one, other = start()
    one.keep()
    one.keep("bill", b"six")
    other.table().items(lambda items: [other.table().delete(each) for each in items])
    started.run()
    assert other.left() == []
    if notices == "sweeps":
        started.advance(SWEEP_SECONDS)
    else:
        lose(started, one)
    assert other.left() == [b"five", b"six"]
    started.kill(0)
    assert sorted(other.executed) == [b"five", b"six"]


def test_what_was_dropped_meanwhile_is_not_put_back(start):
    started, one, other = start()
    one.keep()
    other.table().items(lambda items: [other.table().delete(each) for each in items])

    async def have_no_room():
        one.table().items(lambda _: setattr(started.bus, "overloaded", True))

    # As soon as it is known that something is gone, nothing can be put back at first.
    one.worker.bus.subscribe(BUS_LOST, lambda _: one.worker.asyncio.create_task(have_no_room()))
    started.run()
    lose(started, one)
    assert started.bus.overloaded
    started.bus.overloaded = False
    one.obligations.drop("order")
    started.advance(2 * AGAIN_SECONDS)
    assert one.left() == []


def test_nothing_is_kept_before_the_start(start):
    started, one, _ = start(begun=False)
    never = one.begin_to_keep()
    started.advance(6)
    assert never.result() is False
    later = one.begin_to_keep()
    started.run()
    assert not later.done()
    assert one.left() == []
    one.obligations.start()
    started.run()
    assert later.result() is True


def test_nothing_is_kept_while_somebody_else_has_the_key_of_the_worker(start):
    started, one, _ = start()
    assert one.keep()
    at_once = []
    one.worker.bus.subscribe(
        BUS_TAKEN, lambda _: at_once.append(one.begin_to_keep("toll", b"seven"))
    )
    started.run()
    started.bus.take_key(f"{KIND}.{one.worker.bus.member}")
    started.run()
    later = one.begin_to_keep("bill", b"six")
    started.advance(6)
    assert [each.result() for each in (*at_once, later)] == [False, False]
    assert one.left() == [b"five"]


def test_a_worker_that_was_taken_for_dead_has_its_key_again_when_it_is_free(start):
    started, one, other = start(begun=False)
    key = f"{KIND}.{one.worker.bus.member}"
    other.worker.bus.claim(key, lambda _: None)
    one.obligations.start()
    started.run()
    waits = one.begin_to_keep()
    started.run()
    assert not waits.done()
    other.worker.bus.release(key)
    started.advance(AGAIN_SECONDS)
    assert waits.result() is True


def test_what_is_too_long_is_refused(start):
    _, one, _ = start()
    assert one.keep("order", 65_536 * b"x")
    assert not one.keep("bill", 65_537 * b"x")
    assert len(one.left()) == 1


def test_what_there_is_no_room_for_is_refused_and_forgotten(start):
    started, one, _ = start()
    fill(one)
    started.run()
    assert not one.keep("order", 65_000 * b"x")
    one.obligations.execute("order")
    assert one.executed == []
    started.advance(2 * SWEEP_SECONDS)
    assert sorted(map(len, one.left())) == [65_500] * 63


def fill(place):
    """Leave room for less than a value in the table."""
    for number in range(63):
        assert place.keep(f"filler {number}", 65_500 * b"x")


def test_what_nobody_knows_to_be_kept_is_refused_and_not_done_later(start):
    started, one, other = start()
    started.bus.overloaded = True
    assert not one.keep()
    started.bus.overloaded = False
    started.advance(AGAIN_SECONDS)
    started.kill(0)
    assert other.executed == []


def test_what_is_kept_again_stays_when_it_is_known_that_the_first_was_refused(start):
    started, one, _ = start()
    started.bus.overloaded = True
    first = one.begin_to_keep("order", b"five")
    second = None

    def keep_again(*_):
        nonlocal second
        started.bus.overloaded = False
        one.obligations.drop("order")
        second = one.begin_to_keep("order", b"six")

    one.worker.asyncio.call_soon(keep_again)  # when the first one was asked for
    started.advance(2 * AGAIN_SECONDS)
    assert not first.result()
    assert second.result()
    assert one.left() == [b"six"]
    one.obligations.execute("order")
    assert one.executed == [b"six"]


def test_a_worker_that_ends_waits_for_what_it_does(start):
    started, one, other = start()
    assert one.keep()
    one.answer = None
    one.obligations.execute("order")
    started.run()
    one.worker.call_later(0.5, lambda: one.unanswered.pop()(True))
    one.worker.close_asyncio()
    assert other.left() == []
    started.kill(0)
    started.advance(2 * SWEEP_SECONDS)
    assert other.executed == []


def test_it_does_not_wait_long(start):
    started, one, other = start()
    assert one.keep()
    one.answer = None
    one.obligations.execute("order")
    started.run()
    one.worker.close_asyncio()
    started.kill(0)
    started.run()
    assert other.executed == [b"five"]
