"""Clients are held back while too much of what they have said is on its way."""

import pytest

from host.plugins.coordination import BoundedPublisher

SIZE = 100_000


class Client:
    """What holds a client back; it notes that in a list."""

    def __init__(self, log):
        self.log = log

    def hold(self):
        self.log.append("held")

    def release(self):
        self.log.append("released")


@pytest.fixture
def start(harness):
    """Return what starts a worker: the harness, a publisher, a client, and what happens to it."""

    def start(max_bytes):
        started, log = harness(), []
        publisher = BoundedPublisher(started.workers[0].bus, max_bytes)
        return started, publisher, Client(log), log

    return start


def test_who_sends_too_much_is_held_until_half_of_it_is_taken(start):
    started, publisher, client, log = start(3 * SIZE)
    started.bus.away = True
    for number in range(4):
        assert publisher.publish("t", bytes(SIZE - 301), done=lambda _, n=number: log.append(n))
        publisher.hold(client)
    assert log == ["held"]  # 3 times that is no more than there may be
    started.bus.away = False
    started.run()
    assert log == ["held", 0, 1, 2, "released", 3]


def test_nobody_is_held_while_the_bus_takes_all(start):
    started, publisher, client, log = start(3 * SIZE)
    for _ in range(20):
        publisher.publish("t", bytes(SIZE))
        started.run()
        publisher.hold(client)
    assert log == []


def test_each_client_is_released_as_often_as_it_was_held(start):
    started, publisher, client, log = start(SIZE)
    other, others = Client([]), None
    others = other.log
    started.bus.away = True
    publisher.publish("t", bytes(2 * SIZE))
    publisher.hold(client)
    publisher.hold(client)
    publisher.hold(other)
    started.bus.away = False
    started.run()
    publisher.publish("t", bytes(SIZE))
    started.run()
    assert log == ["held", "held", "released", "released"]
    assert others == ["held", "released"]


def test_small_messages_count_with_what_they_cost(start):
    started, publisher, client, log = start(1_000_000)
    started.bus.away = True
    for _ in range(10_000):
        publisher.publish("t", b"x")
        publisher.hold(client)
        if log:
            break
    else:
        raise AssertionError("nobody is held")
    started.bus.away = False
    started.run()
    assert log == ["held", "released"]


def test_what_was_counted_once_is_not_counted_again(start):
    started, publisher, client, log = start(50_000)
    publisher.publish("t", bytes(60_000))  # too short to ask whether it was taken
    for _ in range(2):
        publisher.publish("t", b"x", done=log.append)
        publisher.hold(client)
        started.run()
    assert log == ["held", True, "released", True]


def test_copies_count_too(start):
    started, publisher, client, log = start(10 * SIZE)
    started.bus.away = True
    publisher.publish("t", bytes(SIZE), copies=8)
    publisher.hold(client)
    assert log == []
    publisher.publish("t", bytes(SIZE), copies=8)
    publisher.hold(client)
    assert log == ["held"]


def test_what_is_dropped_is_on_its_way_no_more(start):
    started, publisher, client, log = start(SIZE)
    started.bus.overloaded = True
    assert not publisher.publish("t", b"small")
    assert not publisher.publish("t", bytes(3 * SIZE), done=log.append)
    publisher.hold(client)
    assert log == ["held"]
    started.advance(0)
    assert log == ["held", False, "released"]


def test_what_is_no_message_does_not_count(start):
    started, publisher, client, log = start(SIZE)
    for _ in range(3):
        with pytest.raises(ValueError, match="payload"):
            publisher.publish("t", bytes(1_048_577))
        with pytest.raises(ValueError, match="name"):
            publisher.publish("t" * 513, bytes(SIZE))
    publisher.publish("t", b"small", done=log.append)
    publisher.hold(client)
    started.run()
    assert log == [True]


@pytest.mark.parametrize("max_bytes", [0, 1])
def test_with_no_room_at_all_one_message_after_the_other_is_taken(start, max_bytes):
    started, publisher, client, log = start(max_bytes)
    for _ in range(2):
        publisher.publish("t", b"x", done=log.append)
        publisher.hold(client)
        started.run()
    assert log == ["held", True, "released"] * 2


@pytest.mark.parametrize("size", [1, SIZE])
def test_messages_arrive_and_are_retained_as_those_of_the_bus(start, size):
    started, publisher, _, log = start(SIZE)
    bus = started.workers[0].bus
    bus.subscribe("t", lambda each: log.append((each.payload, each.retained)))
    started.run()
    assert publisher.publish("t", size * b"1", retain=2)
    assert publisher.publish("t", size * b"2", retain=2, done=log.append)
    assert publisher.publish("t", size * b"3")
    started.run()
    assert log == [(size * b"1", False), (size * b"2", False), True, (size * b"3", False)]
    log.clear()
    bus.read_retained("t", lambda each: log.append((each.payload, each.retained)), lambda: None)
    started.run()
    assert log == [(size * b"1", True), (size * b"2", True)]
