"""What is sent to a client until it confirms it, and what waits."""

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.plugins.delivery import DeliveryLimits, DeliveryWindow


def window_of(**limits):
    told = []
    window = DeliveryWindow(lambda *each: told.append(each), len, DeliveryLimits(**limits))
    return window, told


def test_items_have_numbers_from_1_on():
    window, told = window_of()
    assert window.add(b"a")
    assert window.add(b"b")
    assert told == [(1, b"a"), (2, b"b")]
    assert window.sent == {1: b"a", 2: b"b"}


def test_what_has_no_room_is_sent_when_something_is_confirmed():
    window, told = window_of(max_sent=2)
    assert all(window.add(each) for each in (b"a", b"b", b"c", b"d"))
    assert list(window.waiting) == [b"c", b"d"]
    window.confirm(2)
    assert told == [(1, b"a"), (2, b"b"), (3, b"c")]
    assert list(window.unconfirmed()) == [b"a", b"c", b"d"]


def test_bytes_are_limited_as_well_and_one_item_may_be_longer():
    window, told = window_of(max_sent_bytes=10)
    for each in (b"a" * 30, b"b", b"c"):
        assert window.add(each)
    assert told == [(1, b"a" * 30)]
    window.confirm(1)
    assert told[1:] == [(2, b"b"), (3, b"c")]


@pytest.mark.parametrize("limits", [{"max_waiting": 2}, {"max_waiting_bytes": 2}])
def test_more_than_may_wait_is_not_kept(limits):
    window, told = window_of(max_sent=1, **limits)
    assert [window.add(each) for each in (b"a", b"b", b"c", b"d")] == [True, True, True, False]
    window.confirm(1)
    assert window.add(b"e")
    for number in (2, 3):
        window.confirm(number)
    assert told == [(1, b"a"), (2, b"b"), (3, b"c"), (4, b"e")]


def test_numbers_in_use_are_passed_over_when_they_begin_again():
    window, told = window_of(last_number=3, max_sent=2)
    for each in (b"a", b"b"):
        window.add(each)
    window.confirm(2)
    for each in (b"c", b"d", b"e"):
        window.add(each)
        window.confirm(told[-1][0])
    assert [number for number, _ in told] == [1, 2, 3, 2, 3]
    assert window.sent == {1: b"a"}


def test_what_replaces_an_item_keeps_its_number_and_its_room():
    window, told = window_of(max_sent=1, max_sent_bytes=5)
    window.add(b"a" * 10)
    window.add(b"b")
    window.replace(1, b"")
    assert told == [(1, b"a" * 10)]
    assert window.sent == {1: b""}
    window.confirm(1)
    assert told[1:] == [(2, b"b")]
    window.confirm(2)
    for each in (b"123", b"456"):
        window.add(each)
    assert list(window.waiting) == [b"456"]


@pytest.mark.parametrize("call", ["confirm", "replace"])
def test_a_number_that_no_item_has(call):
    window, _ = window_of()
    window.add(b"a")
    with pytest.raises(KeyError):
        getattr(window, call)(*(2, b"b")[: 1 + (call == "replace")])
    assert window.sent == {1: b"a"}


def test_a_connection_that_is_taken_up_has_again_what_was_not_confirmed():
    window, told = window_of(max_sent=2)
    again = []
    window.resume({7: b"a", 1: b"b"}, lambda *each: again.append(each), is_complete=True)
    assert again == [(7, b"a"), (1, b"b")]
    window.add(b"c")
    assert told == []
    window.confirm(7)
    assert told == [(2, b"c")]


def test_numbers_go_on_from_any_one_where_some_were_lost():
    first = set()
    for _ in range(30):
        window, told = window_of()
        window.resume({}, lambda *_: None, is_complete=False)
        window.add(b"a")
        first.add(told[0][0])
    assert len(first) > 20
    assert all(1 <= number <= 65_535 for number in first)


def test_a_client_that_has_gone_leaves_nothing_to_the_collector():
    class Client:
        """Knows the window that knows it."""

        def __init__(self):
            self.window = DeliveryWindow(self.send, len, DeliveryLimits(max_sent=1))

        def send(self, _number, _item):
            pass

    client = Client()
    for each in (b"a", b"b"):
        client.window.add(each)
    window, gone = client.window, weakref.ref(client)
    window.clear()
    assert window.unconfirmed() == ()
    gc.disable()
    try:
        del client
        assert gone() is None
    finally:
        gc.enable()


@given(
    st.lists(st.one_of(st.binary(max_size=6), st.integers(0, 9))),
    st.integers(1, 4),
    st.integers(1, 12),
)
def test_all_that_was_added_is_sent_once_and_in_order(steps, max_sent, max_sent_bytes):
    window, told = window_of(max_sent=max_sent, max_sent_bytes=max_sent_bytes, last_number=9)
    added = []
    for step in steps:
        if isinstance(step, bytes):
            added.append(step)
            assert window.add(step)
        elif window.sent:
            window.confirm(list(window.sent)[step % len(window.sent)])
        assert len(window.sent) <= max_sent
        has_room = len(window.sent) < max_sent
        assert not window.waiting or not (
            has_room and sum(map(len, window.sent.values())) < max_sent_bytes
        )
    while window.sent:
        window.confirm(next(iter(window.sent)))
    assert [item for _, item in told] == added
    assert not window.waiting
