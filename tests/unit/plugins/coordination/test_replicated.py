"""Each worker has a copy of a table, and one at a time changes a key of it."""

import pytest

from host.plugins.coordination import AGAIN_SECONDS, ReplicatedTable

NAME = "sessions"


class Place:
    """A worker with a table: of each value the part before the colon is shared."""

    def __init__(self, worker):
        self.worker, self.changes, self.told = worker, [], []
        self.table = ReplicatedTable(worker, NAME, shared, lambda *each: self.changes.append(each))

    def begin(self, coroutine):
        task = self.worker.asyncio.create_task(coroutine)
        self.worker.run()
        return task

    def load(self, key="ann"):
        return self.begin(self.table.load(key)).result()

    def change(self, value, key="ann"):
        return self.begin(self.table.change(key, value)).result()

    def started(self):
        self.worker.bus.subscribe(f"{NAME}-changes", lambda each: self.told.append(each.payload))
        return self.begin(self.table.start())


def shared(value):
    return value.partition(b":")[0]


@pytest.fixture
def start(harness):
    """Return what starts workers: the harness and a place for each."""

    def start(workers=2, begun=True):
        started = harness(workers=workers)
        places = [Place(worker) for worker in started.workers]
        for place in places if begun else ():
            place.started()
        started.run()
        return started, *places

    return start


def test_the_copies_of_all_workers_follow(start):
    _, one, other, third = start(3)
    assert one.load() is None
    assert one.change(b"a:1")
    assert one.table.copy == other.table.copy == third.table.copy == {"ann": b"a"}
    assert one.change(b"b:2")
    assert other.table.copy == {"ann": b"b"}
    assert one.change(None)
    assert one.table.copy == other.table.copy == {}
    expected = [("ann", None, b"a"), ("ann", b"a", b"b"), ("ann", b"b", None)]
    assert list(dict.fromkeys(other.changes)) == expected
    assert [each for each in one.changes if each[1] != each[2]] == expected


def test_any_worker_has_all_values(start):
    _, one, other = start()
    one.load()
    one.change(b"a:1\nsecond line")
    one.load("bob")
    one.change(b"", "bob")
    assert other.begin(other.table.refresh()).result() == {"ann": b"a:1\nsecond line", "bob": b""}
    assert other.load() == b"a:1\nsecond line"
    assert other.table.copy == {"ann": b"a", "bob": b""}


def test_a_name_of_several_bytes_a_letter_is_told(start):
    _, one, other = start()
    one.load("Zoë")
    one.change(b"-", "Zoë")
    assert other.table.copy == {"Zoë": b"-"}


def test_others_are_told_only_of_what_is_shared(start):
    _, one, other = start()
    one.load()
    one.change(b"a:1")
    seen, told = len(other.changes), len(other.told)
    assert one.change(b"a:2")
    assert (len(other.changes), len(other.told)) == (seen, told) == (1, 1)
    assert other.load() == b"a:2"
    one.change(b"b:2")
    assert len(other.told) == 2


def test_who_starts_later_learns_all(start):
    _, one, other = start(begun=False)
    one.started()
    one.load()
    one.change(b"a:1")
    assert other.table.copy == {}
    other.started()
    assert other.table.copy == {"ann": b"a"}
    assert other.changes == [("ann", None, b"a")]
    one.change(b"b:1")
    assert other.table.copy == {"ann": b"b"}


def test_a_worker_that_starts_waits_until_the_table_is_known(start):
    started, one, _ = start(begun=False)
    started.bus.away = True
    task = one.started()
    started.advance(3 * AGAIN_SECONDS)
    assert not task.done()
    started.bus.away = False
    started.advance(AGAIN_SECONDS)
    assert task.done()


def test_a_change_is_refused_if_another_worker_has_changed_the_key(start):
    _, one, other = start()
    one.load()
    other.load()
    assert other.change(b"b:1")
    assert not one.change(b"a:1")
    assert one.table.copy == other.table.copy == {"ann": b"b"}
    assert not one.change(None)
    assert one.load() == b"b:1"
    assert one.change(b"a:1")
    assert not other.change(b"b:2")


def test_a_change_is_refused_also_if_another_worker_has_put_the_same_value_there(start):
    _, one, other = start()
    one.load()
    one.change(b"a:1")
    other.load()
    assert other.change(b"b:1")
    assert other.change(b"a:1")
    assert not one.change(b"c:1")


def test_who_has_let_a_key_go_changes_it_no_more(start):
    _, one, _ = start()
    one.load()
    one.change(b"a:1")
    one.table.let_go("ann")
    one.table.let_go("ann")
    assert not one.change(b"a:2")
    assert one.load() == b"a:1"


def test_what_the_bus_does_not_know_is_not_loaded(start):
    started, one, _ = start()
    one.load()
    one.change(b"a:1")
    started.bus.away = True
    assert isinstance(one.begin(one.table.load("ann")).exception(), BlockingIOError)
    started.bus.away = False
    assert one.load() == b"a:1"


def test_what_is_too_long_is_refused(start):
    _, one, other = start()
    one.load()
    assert not one.change(65_536 * b"x")
    assert other.load() is None
    assert one.table.copy == other.table.copy == {}
    assert one.change(65_450 * b"x")
    assert other.load() == 65_450 * b"x"


def test_what_there_is_no_room_for_is_refused(start):
    _, one, other = start()
    for number in range(63):
        one.worker.bus.table(NAME).set(str(number), 65_536 * b"x")
    one.load()
    assert not one.change(b"x" * 65_000)
    assert "ann" not in other.table.copy
    assert one.change(b"a")


def test_a_change_waits_for_a_broker_that_is_away(start):
    started, one, other = start()
    one.load()
    started.bus.away = True
    task = one.begin(one.table.change("ann", b"a:1"))
    started.advance(10)
    assert not task.done()
    started.bus.away = False
    started.run()
    assert task.result()
    assert other.table.copy == {"ann": b"a"}


def test_a_change_of_which_nobody_knows_is_made_again(start):
    started, one, other = start()
    one.load()
    started.bus.overloaded = True
    task = one.begin(one.table.change("ann", b"a:1"))
    started.advance(3 * AGAIN_SECONDS)
    assert not task.done()
    started.bus.overloaded = False
    started.advance(AGAIN_SECONDS)
    assert task.result()
    assert other.table.copy == {"ann": b"a"}


def test_a_change_is_told_until_others_have_heard_of_it(start):
    started, one, other = start()
    one.load()

    async def have_no_room():
        one.worker.bus.table(NAME).get("ann", lambda *_: setattr(started.bus, "overloaded", True))

    task = one.worker.asyncio.create_task(one.table.change("ann", b"a:1"))
    one.begin(have_no_room())  # right after the change is made, before it is told
    started.advance(3 * AGAIN_SECONDS)
    assert started.bus.overloaded
    assert not task.done()
    assert (one.table.copy, other.table.copy) == ({"ann": b"a"}, {})
    started.bus.overloaded = False
    started.advance(AGAIN_SECONDS)
    assert task.result()
    assert other.table.copy == {"ann": b"a"}


def test_others_are_told_of_a_change_that_a_refresh_has_shown(start):
    _, one, other = start()
    one.load()
    one.worker.asyncio.create_task(one.table.change("ann", b"a:1"))
    one.begin(one.table.refresh())  # has its answer before the change goes on
    assert one.table.copy == {"ann": b"a"}
    assert other.table.copy == {"ann": b"a"}


def test_a_refresh_tells_nothing_of_what_is_known(start):
    """A table with thousands of values is read each minute, in one turn."""
    _, one, other = start()
    one.load()
    one.change(b"a:1")
    other.changes.clear()
    assert other.begin(other.table.refresh()).result() == {"ann": b"a:1"}
    assert other.changes == []


def test_a_refresh_finds_what_was_missed(start):
    started, one, other = start()
    for key in ("ann", "bob", "carl"):
        one.load(key)
        one.change(b"a:1", key)
    messages = other.told.copy()
    other.worker.bus.unsubscribe(f"{NAME}-changes")  # so it hears of nothing
    one.change(None, "ann")
    one.change(b"b:1", "bob")
    one.load("dora")
    one.change(b"a:1", "dora")
    assert other.told == messages
    assert other.table.copy == {"ann": b"a", "bob": b"a", "carl": b"a"}
    other.changes.clear()
    started.bus.away = True
    task = other.begin(other.table.refresh())
    started.advance(3 * AGAIN_SECONDS)
    assert not task.done()
    started.bus.away = False
    started.advance(AGAIN_SECONDS)
    assert task.done()
    assert other.table.copy == {"bob": b"b", "carl": b"a", "dora": b"a"}
    assert {each for each in other.changes if each[1] != each[2]} == {
        ("ann", b"a", None),
        ("bob", b"a", b"b"),
        ("dora", None, b"a"),
    }


def test_what_was_changed_is_there_when_its_worker_has_died(start):
    started, one, other = start()
    one.load()
    one.change(b"a:1")
    started.kill(0)
    assert other.load() == b"a:1"
    assert other.change(b"b:1")
