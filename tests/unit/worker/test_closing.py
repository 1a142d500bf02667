"""A connection ends once, with the right reason, after what is unsent or without it."""

import tempfile
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.interfaces import CloseReason
from host.runtime.loop import READ, WRITE
from host.telemetry.events import CONNECTION_CLOSED
from host.worker.backlog import Farewell
from host.worker.closing import log_closed
from support.connections import HANG_UP, PIPE, RESET, Worker, takes_of, writes
from support.fakes import Told

ERRORS = [RESET, PIPE]
FILE = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the tests)
FILE.write(b"0123456789")
FILE.flush()
ACTS = st.lists(
    st.one_of(
        st.sampled_from(
            ["read", "write", "flush", "pause", "resume", "close", "half", "later", "fail"]
        ),
        st.sampled_from(["pieces", "into", "file", "abort", "in 5 s", "expire", "begin", "end"]),
        st.sampled_from(
            ["cut", "wait", "idle", "drain", "rest", "on_readable", "on_writable", "hang up"]
        ),
    ),
    max_size=40,
)
ARRIVES = st.lists(st.sampled_from([b"some", b"", *ERRORS]), max_size=5)
KERNEL = st.lists(st.one_of(st.integers(0, 9), st.sampled_from(["block", *ERRORS])), max_size=9)


def test_the_log_is_told_who_ended_and_why_if_it_wants_to_know():
    told = Told()
    worker = Worker()
    worker.context.log_closed = partial(log_closed, told.telemetry, worker.loop)
    connection, _ = worker.connect(b"some")
    worker.handler = writes(b"answer")
    worker.turn(connection)
    worker.loop.advance(worker.loop.now + 2.5)
    connection.finish(CloseReason.IDLE)
    assert told.of(CONNECTION_CLOSED) == []
    worker.end_turn()
    [event] = told.of(CONNECTION_CLOSED)
    assert event == {
        "connection": connection.id,
        "peer": connection.peer,
        "listener": "tcp://127.0.0.1:7000",
        "slot": 1,
        "seconds": 2.5,
        "bytes_in": 4,
        "bytes_out": 6,
        "reason": CloseReason.IDLE.value,
        "trace_id": None,
        "span_id": None,
    }


def with_last_word(*room):
    """A worker whose connections say a last word; `room`: whether there is room, look by look."""
    worker, looks = Worker(), iter(room)

    def say(fd):
        """Say it once, as a session does."""
        if fd in said:
            return None
        said.append(fd)
        return None if next(looks) else Farewell(lambda _fd: next(looks))

    said = []
    worker.context.farewell = say
    return worker


def test_a_last_word_that_finds_no_room_is_waited_for():
    worker = with_last_word(False, False, True)
    connection, sock = worker.connect(b"x")
    worker.handler = writes(b"bye")
    worker.turn(connection)
    connection.close()
    worker.end_turn()
    assert (worker.loop.watched, connection.unsent) == ({7: WRITE}, 0)
    worker.turn(connection, WRITE)
    assert (worker.reasons, sock.taken) == ([], b"bye")
    worker.turn(connection, WRITE)
    assert worker.reasons == [CloseReason.PLUGIN]
    assert (connection.bytes_out, worker.stalled, worker.loop.watched) == (3, {}, {})


def test_a_peer_that_leaves_no_room_for_the_last_word_has_the_time_of_a_write():
    worker = with_last_word(False, False)
    connection, sock = worker.connect(b"x")
    connection.close()
    worker.end_turn()
    since = worker.stalled[connection]
    worker.turn(connection, WRITE)  # nothing is taken: the time goes on
    assert worker.stalled == {connection: since}
    connection.cut(CloseReason.WRITE_TIMEOUT)
    assert worker.reasons == [CloseReason.WRITE_TIMEOUT]
    assert (sock.was_reset, worker.losses.cuts) == (False, [])


def test_close_sends_first_and_drops_what_is_written_afterwards():
    worker = Worker()
    connection, sock = worker.connect(b"x")

    def handler(each):
        each.read()
        each.write(b"bye")
        each.close()
        assert each.closed
        assert each.read() == b""
        each.write(b"dropped")

    worker.handler = handler
    worker.turn(connection)
    assert sock.taken == b"bye"
    assert worker.reasons == [CloseReason.PLUGIN]
    connection.write(b"dropped")
    worker.end_turn()
    assert sock.taken == b"bye"


def test_close_waits_until_everything_is_taken_and_reads_no_more():
    worker = Worker()
    connection, sock = worker.connect(b"x", takes=[1, 1])
    worker.handler = writes(b"bye")
    worker.turn(connection)
    connection.close()
    worker.end_turn()
    assert worker.loop.watched == {7: WRITE}
    worker.turn(connection, WRITE)
    assert worker.reasons == []
    worker.turn(connection, WRITE)
    assert sock.taken == b"bye"
    assert worker.reasons == [CloseReason.PLUGIN]


def test_the_first_reason_counts():
    worker = Worker()
    connection, _ = worker.connect()
    connection.finish(CloseReason.IDLE)
    connection.close()
    worker.end_turn()
    assert worker.reasons == [CloseReason.IDLE]


def test_a_cut_ends_at_once_and_loses_what_is_queued():
    worker = Worker()
    connection, sock = worker.connect()
    connection.write(b"lost")
    connection.cut(CloseReason.DEADLINE)
    assert worker.reasons == [CloseReason.DEADLINE]
    worker.end_turn()
    assert sock.taken == b""
    assert worker.reasons == [CloseReason.DEADLINE]


def test_what_has_arrived_is_read_before_closing_so_that_the_peer_is_not_reset():
    worker = Worker()
    connection, sock = worker.connect(b"never", b"looked at")
    connection.close()
    worker.end_turn()
    assert sock.arrives == []


def test_a_flood_does_not_keep_a_connection_from_closing():
    worker = Worker()
    connection, sock = worker.connect(*[b"x"] * 100)
    connection.close()
    worker.end_turn()
    assert sock.closed
    assert sock.arrives


def test_the_worker_forgets_a_connection_before_plugins_hear_of_its_end():
    worker = Worker()
    connection, sock = worker.connect()
    seen = []
    worker.context.on_close = lambda *args: seen.append((len(worker.ends), sock.closed))
    connection.close()
    worker.end_turn()
    assert seen == [(1, True)]
    assert worker.ends == [(connection, CloseReason.PLUGIN)]


def test_the_descriptor_is_free_when_the_worker_hears_of_the_end():
    """It counts one connection less from then on, and the supervisor may send another one."""
    worker = Worker()
    connection, sock = worker.connect()
    seen = []
    worker.context.on_end = lambda *_: seen.append(sock.closed)
    connection.close()
    worker.end_turn()
    assert seen == [True]


def test_on_close_may_write_to_others():
    worker = Worker()
    first, _ = worker.connect()
    second, sock = worker.connect()
    worker.context.on_close = lambda *_: second.write(b"gone")
    first.close()
    worker.end_turn()
    assert sock.taken == b"gone"


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_a_handler_that_raises_ends_its_connection_and_nothing_else(error):
    worker = Worker()
    connection, sock = worker.connect(b"x")

    def handler(each):
        each.write(b"so far")
        raise error("in the handler")

    worker.handler = handler
    worker.turn(connection)
    [(plugin, hook, raised, args)] = worker.reports
    assert (plugin, hook, args) == ("culprit", "on_readable", (connection,))
    assert isinstance(raised, error)
    assert sock.taken == b"so far"
    assert worker.reasons == [CloseReason.PLUGIN_FAILED]


def test_after_the_end_everything_is_harmless():
    worker = Worker()
    connection, sock = worker.connect()
    connection.close()
    worker.end_turn()
    connection.write(b"x")
    connection.flush()
    connection.pause_reading()
    connection.resume_reading()
    connection.call_when_writable(lambda each: None)
    connection.close()
    connection.cut(CloseReason.RESET)
    connection.follow_up()
    worker.end_turn()
    assert connection.read() == b""
    assert connection.fileno() == -1
    assert (sock.sends, worker.reasons) == ([], [CloseReason.PLUGIN])
    assert (connection.unsent, worker.loop.watched) == (0, {})


def test_a_connection_that_another_one_has_closed_is_not_handed_to_its_plugin_again():
    worker = Worker()
    connection, _ = worker.connect(b"too late")
    handled = []
    worker.handler = handled.append
    connection.close()  # from a handler of another connection, in the same turn
    worker.event(connection, READ)
    worker.end_turn()
    assert handled == []
    assert worker.reasons == [CloseReason.PLUGIN]


@given(ACTS, ACTS, ARRIVES, KERNEL)
def test_whatever_happens_a_connection_ends_once(acts, handler_acts, arrives, kernel):
    worker = Worker(high_water=12, low_water=4, max_unsent=30)
    to_do = list(handler_acts)
    calls = {
        "read": lambda each: each.read(),
        "write": lambda each: each.write(b"12345"),
        "flush": lambda each: each.flush(),
        "pause": lambda each: each.pause_reading(),
        "resume": lambda each: each.resume_reading(),
        "close": lambda each: each.close(),
        "half": lambda each: setattr(each, "allow_half_open", True),
        "later": lambda each: each.call_when_writable(handler),
        "pieces": lambda each: each.write(b"123", b"45"),
        "into": lambda each: each.read_into(bytearray(3)),
        "file": lambda each: each.send_file(FILE.fileno(), 1, 5),
        "abort": lambda each: each.abort(),
        "in 5 s": lambda each: each.call_later(5, handler),
        "expire": lambda each: each.expire(10),
        "begin": lambda each: each.begin_answer(),
        "end": lambda each: each.end_answer(),
    }

    def handler(each):
        assert not worker.closes
        for _ in range(3):
            act = to_do.pop() if to_do else "read"
            if act == "fail":
                raise SystemExit
            calls.get(act, lambda each: None)(each)

    worker.handler = handler
    worker.on_drain = lambda each, deadline: handler(each)
    connection, sock = worker.connect(*arrives, takes=takes_of(kernel))
    outside = {
        "cut": lambda: connection.cut(CloseReason.DEADLINE),
        "wait": lambda: worker.loop.advance(worker.loop.now + 7),
        "idle": lambda: connection.finish(CloseReason.IDLE),
        "rest": worker.end_turn,
        "drain": lambda: worker.ends or connection.drain(12.0),
        "on_readable": lambda: report(READ, READ),
        "on_writable": lambda: report(WRITE, WRITE),
        "hang up": lambda: report(HANG_UP, READ | WRITE),
    }

    def report(mask, watched):
        if worker.loop.watched.get(connection.fileno(), 0) & watched:
            worker.event(connection, mask)

    for act in acts:
        if act in outside:
            outside[act]()
        elif act in calls:
            calls[act](connection)
        if not worker.touched:
            assert bool(worker.ends) == (connection.closed and not connection.unsent)
    worker.end_turn()
    connection.cut(CloseReason.DEADLINE)
    worker.end_turn()
    assert len(worker.closes) == len(worker.ends) == 1
    assert worker.ends == worker.closes
    assert sock.closed
    assert (worker.stalled, worker.loop.watched, worker.touched) == ({}, {}, [])
    assert (worker.context.timers, worker.context.answering, worker.loop.due) == ({}, {}, [])
    assert worker.context.connections.unsent.total == 0


def test_a_buffer_without_room_and_a_time_that_is_none_are_refused():
    connection, _ = Worker().connect(b"x")
    with pytest.raises(ValueError, match="without room"):
        connection.read_into(bytearray())
    with pytest.raises(ValueError, match="nan"):
        connection.expire(float("nan"))
