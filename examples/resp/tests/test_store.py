import tracemalloc

import pytest
from prefork_resp.patterns import compile_pattern
from prefork_resp.store import Store

MILLISECONDS = 1000


class Clock:
    """Time that passes when it is told to."""

    now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return Store(1_000_000, clock)


def test_a_key_is_gone_when_it_has_expired(store, clock):
    store.put(b"a", b"1")
    store.expires[b"a"] = store.now() + 5 * MILLISECONDS
    clock.now += 5
    assert store.find(b"a") == b"1"
    clock.now += 0.002
    assert store.find(b"a") is None
    assert store.used == len(store) == len(store.expires) == 0


def test_what_nobody_asks_for_is_swept(store, clock):
    for number in range(5000):
        store.put(b"%d" % number, b"x")
        if number % 2:
            store.expires[b"%d" % number] = store.now() + number
    clock.now += 60
    for _ in range(3):
        store.sweep()
    assert len(store) == 2500
    assert not store.expires


def test_those_that_stay_do_not_keep_the_others_from_being_swept(store, clock):
    for number in range(5000):
        store.put(b"%d" % number, b"x")
        store.expires[b"%d" % number] = store.now() + (10**9 if number < 4000 else 1)
    clock.now += 60
    for _ in range(5):
        store.sweep()
    assert len(store) == 4000


def test_room_is_given_back(store):
    before = store.room
    store.put(b"a", b"12345")
    store.put(b"a", b"1")
    store.put(b"n", 7)
    store.put(b"n", b"seven")
    items = store.begin_list(b"l")
    items.extend([b"a", b"b"])
    store.count_elements(items, 2, 2)
    assert store.room < before
    for key in (b"a", b"n", b"l"):
        assert store.delete(key)
    assert store.room == before
    assert not store.delete(b"a")


@pytest.mark.parametrize("kind", ["strings", "numbers", "lists", "one list", "expiring"])
def test_no_more_memory_is_taken_than_is_counted(clock, kind):
    store = Store(10**9, clock)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(10_000):
            key = b"key-%d" % number
            if kind == "numbers":
                store.put(key, 10**9 + number)
            elif kind in ("strings", "expiring"):
                store.put(key, bytes(100))
                if kind == "expiring":
                    store.expires[key] = 10**12 + number
            else:
                key = b"l" if kind == "one list" else key
                items = store.find(key) or store.begin_list(key)
                words = [bytes(9), bytes(11)]
                items.extend(words)
                store.count_elements(items, 2, 20)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken <= store.used * 1.1


@pytest.mark.parametrize(
    ("pattern", "text"),
    [(b"*a" * 40 + b"b", b"a" * 20_000), (b"?*" * 40 + b"b", b"a" * 20_000)],
)
def test_a_pattern_takes_bounded_time(pattern, text):
    assert compile_pattern(pattern).fullmatch(text) is None
