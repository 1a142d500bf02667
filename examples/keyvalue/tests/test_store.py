import tracemalloc

import pytest
from prefork_keyvalue.counts import Counts
from prefork_keyvalue.store import ITEM_OVERHEAD, RELATIVE_SECONDS, Store, expiry

NOW = 1_800_000_000.0


@pytest.fixture
def store():
    return Store(1_000_000, Counts())


def value(store, key, now=NOW):
    item = store.get(key, now)
    return None if item is None else item.value


@pytest.mark.parametrize(
    ("exptime", "expected"),
    [
        (0, None),
        (-1, NOW),
        (1, NOW + 1),
        (RELATIVE_SECONDS, NOW + RELATIVE_SECONDS),
        (RELATIVE_SECONDS + 1, float(RELATIVE_SECONDS + 1)),
        (int(NOW) + 60, NOW + 60),
    ],
)
def test_expiry(exptime, expected):
    assert expiry(exptime, NOW) == expected


def test_an_item_ends_at_its_expiry(store):
    store.put(b"a", 0, 10, b"1", NOW)
    assert value(store, b"a", NOW + 9.9) == b"1"
    assert value(store, b"a", NOW + 10) is None
    assert store.used == 0


def test_an_item_that_has_ended_already_takes_the_old_one_along(store):
    store.put(b"a", 0, 0, b"1", NOW)
    store.put(b"a", 0, -1, b"2", NOW)
    assert value(store, b"a") is None


def test_touch_moves_the_end(store):
    store.put(b"a", 0, 10, b"1", NOW)
    assert store.touch(b"a", 100, NOW + 5)
    assert value(store, b"a", NOW + 50) == b"1"
    assert not store.touch(b"b", 100, NOW)


def test_the_least_recently_used_go_first():
    counts = Counts()
    store = Store(3 * (ITEM_OVERHEAD + 2), counts)
    for key in (b"a", b"b", b"c"):
        store.put(key, 0, 0, b"1", NOW)
    store.get(b"a", NOW)
    store.put(b"d", 0, 0, b"1", NOW)
    assert [value(store, key) for key in (b"a", b"b", b"c", b"d")] == [b"1", None, b"1", b"1"]
    assert counts.evictions == 1


def test_what_has_expired_is_not_counted_as_evicted():
    counts = Counts()
    store = Store(ITEM_OVERHEAD + 2, counts)
    store.put(b"a", 0, 5, b"1", NOW)
    store.put(b"b", 0, 0, b"1", NOW + 6)
    assert (counts.evictions, counts.reclaimed) == (0, 1)


def test_a_flush_takes_what_was_there_when_it_is_due(store):
    store.put(b"a", 0, 0, b"1", NOW)
    store.flush(10, NOW)
    store.put(b"b", 0, 0, b"1", NOW + 8)
    assert value(store, b"a", NOW + 8.9) == b"1"
    store.put(b"c", 0, 0, b"1", NOW + 9)
    assert [value(store, key, NOW + 12) for key in (b"a", b"b", b"c")] == [None, None, b"1"]


@pytest.mark.parametrize("exptime", [0, -1, -(2**31), 1, int(NOW), int(NOW) + 1, 2_592_001])
def test_a_flush_that_is_due_takes_all_at_once(store, exptime):
    store.put(b"a", 0, 0, b"1", NOW)
    store.flush(exptime, NOW)
    assert len(store) == store.used == 0


def test_a_flush_at_a_time_of_day(store):
    store.put(b"a", 0, 0, b"1", NOW)
    store.flush(int(NOW) + 2, NOW)
    assert value(store, b"a", NOW + 0.9) == b"1"
    assert value(store, b"a", NOW + 1) is None


def test_another_flush_takes_the_place_of_the_first(store):
    store.put(b"a", 0, 0, b"1", NOW)
    store.flush(10, NOW)
    store.flush(100, NOW)
    assert value(store, b"a", NOW + 50) == b"1"


def test_the_version_changes_with_the_value(store):
    store.put(b"a", 0, 0, b"1", NOW)
    item = store.get(b"a", NOW)
    first = item.version
    store.touch(b"a", 10, NOW)
    assert store.get(b"a", NOW).version == first
    store.change(b"a", item, b"22", NOW)
    assert store.get(b"a", NOW).version > first
    assert store.used == ITEM_OVERHEAD + 3


def test_a_value_that_grows_makes_room_for_itself():
    store = Store(2 * (ITEM_OVERHEAD + 2), Counts())
    store.put(b"a", 0, 0, b"1", NOW)
    store.put(b"b", 0, 0, b"1", NOW)
    store.change(b"b", store.get(b"b", NOW), b"22", NOW)
    assert (value(store, b"a"), value(store, b"b")) == (None, b"22")


def test_items_take_no_more_memory_than_is_counted():
    store = Store(100_000_000, Counts())
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(20_000):
            store.put(b"key-%d" % number, 1000 + number, 1000, bytes(100), NOW + number)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken <= store.used * 1.1
