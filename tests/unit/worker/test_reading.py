"""What arrives is read on demand, all of it, until the peer has finished or is gone."""

import errno

import pytest

from host.interfaces import CloseReason
from host.runtime.loop import READ, WRITE
from support.connections import HANG_UP, RESET, Worker, writes


def test_read_gives_what_has_arrived_up_to_the_read_size():
    worker = Worker(read_size=4)
    connection, _ = worker.connect(b"abcdef")
    got = []
    worker.handler = lambda each: got.append(each.read())
    worker.turn(connection)
    worker.turn(connection)
    assert got == [b"abcd", b"ef"]
    assert not connection.closed


def test_a_second_read_without_anything_more_is_empty_and_not_the_end():
    worker = Worker()
    connection, _ = worker.connect(b"abc")
    got = []
    worker.handler = lambda each: got.extend([each.read(), each.read()])
    worker.turn(connection)
    assert got == [b"abc", b""]
    assert not connection.eof


def test_when_the_peer_has_finished_what_is_queued_is_sent_and_the_connection_closed():
    worker = Worker()
    connection, sock = worker.connect(b"")
    worker.handler = writes(b"bye")
    worker.turn(connection)
    assert sock.taken == b"bye"
    assert worker.reasons == [CloseReason.PEER_FINISHED]
    assert sock.closed
    assert worker.loop.watched == {}


def test_after_the_end_a_connection_waits_until_the_rest_is_taken():
    worker = Worker()
    connection, sock = worker.connect(b"", takes=[2])
    worker.handler = writes(b"bye")
    worker.turn(connection)
    assert worker.reasons == []
    assert worker.loop.watched == {7: WRITE}
    worker.turn(connection, WRITE)
    assert sock.taken == b"bye"
    assert worker.reasons == [CloseReason.PEER_FINISHED]


def test_a_half_open_connection_stays_until_the_plugin_closes_it():
    worker = Worker()
    connection, sock = worker.connect(b"")
    connection.allow_half_open = True
    worker.turn(connection)
    assert connection.eof
    assert worker.loop.watched == {}
    connection.write(b"later")
    worker.end_turn()
    assert sock.taken == b"later"
    connection.close()
    worker.end_turn()
    assert worker.reasons == [CloseReason.PLUGIN]


def test_reading_from_a_reset_connection_ends_it():
    worker = Worker()
    connection, sock = worker.connect(RESET)
    worker.handler = writes(b"lost")
    worker.turn(connection)
    assert worker.reasons == [CloseReason.RESET]
    assert sock.sends == []
    assert worker.reports == []


def test_a_plugin_that_does_not_read_has_failed():
    worker = Worker()
    connection, _ = worker.connect(b"abc")
    worker.handler = lambda each: None
    worker.turn(connection)
    [(plugin, hook, error, args)] = worker.reports
    assert (plugin, hook, args) == ("culprit", "on_readable", (connection,))
    assert "without calling connection.read()" in str(error)
    assert worker.reasons == [CloseReason.PLUGIN_FAILED]


@pytest.mark.parametrize("instead", ["pause_reading", "close"])
def test_a_plugin_may_pause_or_close_instead_of_reading(instead):
    worker = Worker()
    connection, _ = worker.connect(b"abc")
    worker.handler = lambda each: getattr(each, instead)()
    worker.turn(connection)
    assert worker.reports == []


def test_reading_is_paused_and_taken_up_again():
    worker = Worker()
    connection, _ = worker.connect(b"abc")
    connection.pause_reading()
    assert worker.loop.watched == {}
    connection.resume_reading()
    assert worker.loop.watched == {7: READ}


def test_what_arrives_last_is_read_although_the_peer_hung_up():
    worker = Worker()
    connection, _ = worker.connect(b"last", b"")
    got = []
    worker.handler = lambda each: got.append(each.read())
    worker.turn(connection, READ | HANG_UP)
    worker.turn(connection, READ | HANG_UP)
    assert got == [b"last", b""]
    assert worker.reasons == [CloseReason.PEER_FINISHED]


def test_a_hang_up_with_an_error_is_a_reset():
    worker = Worker()
    connection, sock = worker.connect()
    connection.pause_reading()
    worker.loop.watched[7] = 0
    sock.error = errno.ECONNRESET
    worker.turn(connection, HANG_UP)
    assert worker.reasons == [CloseReason.RESET]


def test_a_hang_up_without_an_error_is_read():
    worker = Worker()
    connection, _ = worker.connect(b"")
    worker.turn(connection, HANG_UP)
    assert worker.reasons == [CloseReason.PEER_FINISHED]


def test_an_end_that_another_connections_handler_reads_is_seen_to_in_that_turn():
    worker = Worker()
    first, _ = worker.connect(b"x")
    second, _ = worker.connect(b"")
    worker.handler = lambda connection: (connection.read(), second.read())
    worker.turn(first)
    assert worker.closes == [(second, CloseReason.PEER_FINISHED)]


def asks_for_the_next_turn(called):
    def handler(connection):
        connection.read()
        connection.call_next_turn(called)

    return handler


def test_a_call_in_the_next_turn_comes_before_anything_more_is_read():
    worker = Worker()
    connection, sock = worker.connect(b"x")
    worker.handler = asks_for_the_next_turn(lambda each: each.write(b"more"))
    worker.turn(connection)
    assert (worker.loop.watched, sock.taken) == ({}, b"")
    worker.loop.run_calls()
    assert (worker.loop.watched, sock.taken) == ({7: READ}, b"more")
    assert worker.loop.calls == []


def test_who_asks_again_in_that_turn_is_called_once_in_each():
    worker = Worker()
    connection, sock = worker.connect(b"x")
    left = [b"c", b"b", b"a"]

    def more(each):
        each.write(left.pop())
        if left:
            each.call_next_turn(more)
            each.call_next_turn(more)

    worker.handler = asks_for_the_next_turn(more)
    worker.turn(connection)
    for taken in (b"a", b"ab", b"abc"):
        worker.loop.run_calls()
        worker.end_turn()
        assert sock.taken == taken
    assert worker.loop.watched == {7: READ}


def test_a_call_in_the_next_turn_that_fails_ends_the_connection():
    worker = Worker()
    connection, _ = worker.connect(b"x")
    worker.handler = asks_for_the_next_turn(lambda each: each.no_such_method())
    worker.turn(connection)
    worker.loop.run_calls()
    assert [report[:2] for report in worker.reports] == [("culprit", "on_readable")]
    assert worker.reasons == [CloseReason.PLUGIN_FAILED]


def test_a_call_in_the_next_turn_is_gone_with_the_connection():
    worker = Worker()
    connection, _ = worker.connect(b"x")
    called = []
    worker.handler = asks_for_the_next_turn(called.append)
    worker.turn(connection)
    connection.close()
    worker.end_turn()
    worker.loop.run_calls()
    assert called == []
    assert worker.reasons == [CloseReason.PLUGIN]
