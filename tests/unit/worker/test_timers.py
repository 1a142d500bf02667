"""Timers of a connection are gone with it, and a time-out that moves costs no entry of the heap."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.interfaces import CloseReason
from host.runtime.loop import READ
from host.worker.timers import RepeatedCall
from support.connections import Worker
from support.fakes import FakeLoop


def pass_time(worker, seconds):
    worker.loop.advance(worker.loop.now + seconds)
    worker.end_turn()


def test_a_call_is_made_once_with_the_connection_and_what_it_writes_is_sent():
    worker = Worker()
    connection, sock = worker.connect()
    connection.call_later(3, lambda each: each.write(b"late"))
    pass_time(worker, 2.9)
    assert sock.taken == b""
    pass_time(worker, 0.2)
    assert sock.taken == b"late"
    pass_time(worker, 10)
    assert sock.taken == b"late"


def test_a_call_that_was_cancelled_is_not_made():
    worker = Worker()
    connection, _ = worker.connect()
    called = []
    timer = connection.call_later(3, called.append)
    connection.call_later(4, called.append)
    timer.cancel()
    timer.cancel()
    pass_time(worker, 5)
    assert called == [connection]
    timer.cancel()


@pytest.mark.parametrize("end", ["close", "abort"])
def test_calls_are_gone_with_the_connection(end):
    worker = Worker()
    connection, _ = worker.connect()
    called = []
    connection.call_later(3, called.append)
    connection.expire(5)
    getattr(connection, end)()
    worker.end_turn()
    assert (worker.loop.due, worker.context.timers) == ([], {})
    timer = connection.call_later(1, called.append)
    connection.expire(1)
    assert (worker.loop.due, worker.context.timers) == ([], {})
    timer.cancel()
    pass_time(worker, 10)
    assert called == []


def test_no_call_is_made_while_the_connection_waits_for_its_end():
    worker = Worker()
    connection, _ = worker.connect(takes=[0, 0])
    called = []
    connection.call_later(3, called.append)
    connection.write(b"not taken")
    connection.close()
    worker.end_turn()
    pass_time(worker, 5)
    assert (called, worker.reasons) == ([], [])


def test_an_exception_of_a_call_ends_the_connection_and_names_the_plugin():
    worker = Worker()
    connection, _ = worker.connect()
    connection.call_later(1, lambda each: each.no_such)
    pass_time(worker, 2)
    assert worker.reasons == [CloseReason.PLUGIN_FAILED]
    [(plugin, hook, error, _)] = worker.reports
    assert (plugin, hook, type(error)) == ("culprit", "on_readable", AttributeError)


def test_a_time_out_closes_after_what_is_queued():
    worker = Worker()
    connection, sock = worker.connect()
    connection.expire(5)
    pass_time(worker, 4.9)
    assert worker.reasons == []
    connection.write(b"sorry")
    pass_time(worker, 0.2)
    assert (worker.reasons, sock.taken) == ([CloseReason.TIMEOUT], b"sorry")


def test_the_last_time_out_counts():
    worker = Worker()
    connection, _ = worker.connect()
    connection.expire(5)
    connection.expire(50)
    pass_time(worker, 40)
    assert worker.reasons == []
    connection.expire(2)
    pass_time(worker, 1)
    connection.expire(None)
    pass_time(worker, 100)
    assert worker.reasons == []
    connection.expire(1)
    pass_time(worker, 1)
    assert worker.reasons == [CloseReason.TIMEOUT]


def test_a_new_time_out_per_message_makes_no_new_entry():
    worker = Worker()

    def handler(each):
        each.read()
        each.expire(30)

    worker.handler = handler
    connections = [worker.connect(*[b"x"] * 200)[0] for _ in range(100)]
    made = []
    call_at = worker.loop.call_at
    worker.loop.call_at = lambda when, function: made.append(when) or call_at(when, function)
    for _ in range(100):
        for connection in connections:
            worker.event(connection, READ)
        worker.end_turn()
        pass_time(worker, 0.1)
    assert len(made) == len(connections)
    assert len(worker.loop.due) == len(connections)
    assert worker.reasons == []


@given(
    st.lists(
        st.tuples(st.sampled_from(["expire", "never", "wait"]), st.integers(1, 20)), max_size=30
    )
)
def test_whatever_is_said_the_time_out_passes_when_it_was_said_last(acts):
    worker = Worker()
    connection, _ = worker.connect()
    due = None
    for act, seconds in acts:
        if act == "wait":
            pass_time(worker, seconds)
            if due is not None and due <= worker.loop.now:
                assert worker.reasons == [CloseReason.TIMEOUT]
                return
        else:
            connection.expire(seconds if act == "expire" else None)
            due = worker.loop.now + seconds if act == "expire" else None
        assert worker.reasons == []
        assert len(worker.loop.due) <= 1
    if due is not None:
        pass_time(worker, due - worker.loop.now)
        assert worker.reasons == [CloseReason.TIMEOUT]


def test_nothing_of_an_ended_connection_is_kept():
    worker = Worker()
    connection, _ = worker.connect()
    connection.call_later(3, lambda each: each)
    connection.expire(3)
    connection.close()
    worker.end_turn()
    worker.ends.clear()
    worker.closes.clear()
    gc.disable()
    try:
        assert not [each for each in gc.get_referrers(connection) if isinstance(each, dict)]
    finally:
        gc.enable()


def test_repeated_calls_keep_to_their_times_until_they_are_cancelled():
    loop = FakeLoop(now=100.0)
    called = []
    timer = RepeatedCall(loop, 10, lambda: called.append(loop.now))
    loop.advance(131)
    assert called == [110, 120, 130]
    timer.cancel()
    timer.cancel()
    loop.advance(200)
    assert called == [110, 120, 130]
    assert loop.due == []


def test_repeated_calls_whose_time_has_passed_are_left_out():
    loop = FakeLoop(now=100.0)
    called = []

    timer = RepeatedCall(loop, 10, lambda: called.append(loop.now))
    loop.advance(110)
    loop.now = 145  # the loop was busy
    loop.advance(170)
    assert called == [110, 145, 150, 160, 170]
    timer.cancel()


def test_a_repeated_call_may_cancel_itself():
    loop, called = FakeLoop(), []
    timer = RepeatedCall(loop, 1, lambda: called.append(timer.cancel()))
    loop.advance(loop.now + 5)
    assert (called, loop.due) == ([None], [])


@pytest.mark.parametrize("seconds", [0, -1, 1e-320, float("nan"), float("inf")])
def test_the_seconds_between_two_calls_are_a_millisecond_at_least(seconds):
    with pytest.raises(ValueError, match=r"must be at least 0\.001"):
        RepeatedCall(FakeLoop(), seconds, print)
