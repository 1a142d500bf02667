"""What is written is sent once a turn, in order, and held within limits when the peer is slow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.interfaces import CloseReason
from host.runtime.loop import READ, WRITE
from support.connections import HANG_UP, PIPE, RESET, Worker, takes_of, writes

TAKES = st.lists(st.one_of(st.integers(0, 40), st.just("block")), max_size=30)
CHUNKS = st.lists(st.binary(max_size=30), max_size=30)
WRITES = st.lists(
    st.tuples(
        st.sampled_from(
            ["within", "within, flushing", "outside", "outside, pausing", "at the end of a turn"]
        ),
        CHUNKS,
    ),
    max_size=8,
)


def test_all_that_a_handler_writes_is_sent_at_once():
    worker = Worker()
    connection, sock = worker.connect(b"x")
    worker.handler = writes(b"one ", bytearray(b"two "), memoryview(b"three"))
    worker.turn(connection)
    assert sock.sends == [b"one two three"]


def test_a_mutable_buffer_is_copied():
    worker = Worker()
    connection, sock = worker.connect(b"x")
    buffer = bytearray(b"before")

    def handler(each):
        each.read()
        each.write(buffer)
        buffer[:] = b"after!"

    worker.handler = handler
    worker.turn(connection)
    assert sock.taken == b"before"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("text", r"write\(\) was given str: encode it, as in write\(text.encode\(\)\)"),
        (5, "given int: give it bytes"),
        (None, "given NoneType"),
        (["a"], "given list"),
    ],
)
def test_only_bytes_can_be_written(wrong, said):
    worker = Worker()
    connection, _ = worker.connect()
    with pytest.raises(TypeError, match=said):
        connection.write(wrong)
    with pytest.raises(TypeError, match=said):
        connection.write(wrong, b"more")
    assert connection.unsent == 0


def test_unsent_counts_bytes_whatever_a_buffer_is_made_of():
    worker = Worker()
    connection, _ = worker.connect()
    connection.write(memoryview(b"12345678").cast("Q"))
    assert connection.unsent == 8


def test_flush_sends_within_the_handler():
    worker = Worker()
    connection, sock = worker.connect(b"x")

    def handler(each):
        each.read()
        each.write(b"now")
        each.flush()
        assert sock.taken == b"now"
        each.write(b"later")

    worker.handler = handler
    worker.turn(connection)
    assert sock.sends == [b"now", b"later"]


def test_much_that_others_write_is_sent_early():
    worker = Worker(high_water=4, low_water=2)
    connection, sock = worker.connect(takes=[1])
    connection.write(b"0123456789")
    assert (sock.taken, connection.unsent, connection.congested) == (b"0", 9, True)


def test_many_flushes_in_one_turn_leave_nothing_behind():
    worker = Worker()
    connection, sock = worker.connect(b"x")

    def handler(each):
        each.read()
        for _ in range(100):
            each.write(b"")
            each.write(b"x")
            each.flush()

    worker.handler = handler
    worker.event(connection)
    assert sock.sends == [b"x"] * 100
    assert len(worker.touched) <= 1


def test_much_is_sent_early():
    worker = Worker(high_water=10)
    connection, sock = worker.connect(b"x")
    worker.handler = writes(b"12345678", b"9abcdef", b"g")
    worker.turn(connection)
    assert sock.sends == [b"123456789abcdef", b"g"]


def test_what_another_connections_handler_writes_is_sent_at_the_end_of_the_turn():
    worker = Worker()
    first, _ = worker.connect(b"x")
    second, sock = worker.connect()

    def handler(connection):
        connection.read()
        second.write(b"a")
        second.write(b"b")

    worker.handler = handler
    worker.event(first)
    assert sock.sends == []
    worker.end_turn()
    assert sock.sends == [b"ab"]


def test_what_others_have_written_goes_in_front_of_what_the_handler_writes():
    worker = Worker()
    connection, sock = worker.connect(b"x")
    connection.write(b"from others, ")
    worker.handler = writes(b"one ", b"two")
    worker.turn(connection)
    assert sock.sends == [b"from others, one two"]


def test_reading_that_is_paused_and_resumed_loses_nothing_that_waits():
    worker = Worker()
    connection, sock = worker.connect(b"x")
    connection.write(b"one ")
    connection.pause_reading()
    connection.resume_reading()
    worker.handler = writes(b"two")
    worker.turn(connection)
    assert sock.sends == [b"one two"]


def test_what_a_peer_does_not_take_waits_for_it():
    worker = Worker()
    connection, sock = worker.connect(b"x", takes=[2, BlockingIOError(), 1])
    worker.handler = writes(b"abcdef")
    worker.turn(connection)
    assert connection.unsent == 4
    assert worker.stalled == {connection: 100.0}
    assert worker.loop.watched == {7: READ | WRITE}
    connection.write(b"gh")
    worker.turn(connection, WRITE)
    assert sock.taken == b"ab"
    worker.loop.now = 101.0
    worker.turn(connection, WRITE)
    assert sock.taken == b"abc"
    assert worker.stalled == {connection: 101.0}
    worker.turn(connection, WRITE)
    assert sock.taken == b"abcdefgh"
    assert (connection.unsent, worker.stalled) == (0, {})
    assert worker.loop.watched == {7: READ}


def test_a_send_that_would_block_loses_nothing():
    worker = Worker()
    connection, sock = worker.connect(b"x", takes=[BlockingIOError()])
    worker.handler = writes(b"abc")
    worker.turn(connection)
    worker.turn(connection, WRITE)
    assert sock.taken == b"abc"


def test_a_peer_that_takes_nothing_is_not_read_from_above_the_high_water_mark():
    worker = Worker(high_water=10, low_water=4)
    connection, _ = worker.connect(b"x", takes=[1, 7, 1])
    worker.handler = writes(b"123456789abc")
    worker.turn(connection)
    assert connection.congested
    assert worker.loop.watched == {7: WRITE}
    worker.turn(connection, WRITE)
    assert connection.unsent == 4
    assert not connection.congested
    assert worker.loop.watched == {7: READ | WRITE}


def test_between_the_marks_nothing_changes():
    worker = Worker(high_water=10, low_water=4)
    connection, _ = worker.connect(b"x", takes=[1, 5])
    worker.handler = writes(b"12345678901")
    worker.turn(connection)
    assert not connection.congested
    connection.write(b"1")
    assert connection.congested
    worker.turn(connection, WRITE)
    assert (connection.unsent, connection.congested) == (6, True)
    assert worker.loop.watched == {7: WRITE}


def test_above_the_hard_cap_the_connection_ends():
    worker = Worker(high_water=10, max_unsent=20)
    connection, sock = worker.connect(b"x", takes=[0])
    worker.handler = writes(b"1" * 15, b"2" * 5)
    worker.turn(connection)
    assert worker.reasons == []
    connection.write(b"3")
    worker.end_turn()
    assert worker.reasons == [CloseReason.UNSENT_LIMIT]
    assert (sock.closed, worker.stalled) == (True, {})


def test_what_was_cut_ends_in_a_reset_and_is_told():
    worker = Worker(high_water=10, max_unsent=20)
    connection, sock = worker.connect(b"x", takes=[0])
    worker.handler = writes(b"1" * 20)
    worker.turn(connection)
    connection.write(b"2")
    worker.end_turn()
    assert sock.was_reset
    assert worker.losses.cuts == [(connection, CloseReason.UNSENT_LIMIT, 21)]


def test_a_piece_that_nothing_waits_before_may_be_larger_than_the_cap():
    worker = Worker(high_water=10, max_unsent=20)
    connection, sock = worker.connect(b"x", takes=[30, 0, 70])
    worker.handler = writes(b"1" * 100)
    worker.turn(connection)
    assert (worker.reasons, connection.unsent, connection.congested) == ([], 70, True)
    worker.turn(connection, WRITE)
    worker.turn(connection, WRITE)
    assert (worker.reasons, connection.unsent) == ([], 0)
    assert sock.taken == b"1" * 100


def test_pieces_are_sent_in_their_order_and_in_one_piece():
    worker = Worker()
    connection, sock = worker.connect(b"x")
    worker.handler = lambda each: (
        each.write(b"head ", bytearray(b"body "), memoryview(b"end")) or (each.read())
    )
    worker.turn(connection)
    assert sock.sends == [b"head body end"]
    connection.write()
    assert connection.unsent == 0


@pytest.mark.parametrize("error", [RESET, PIPE])
def test_a_peer_that_is_gone_when_something_is_sent_ends_the_connection(error):
    worker = Worker()
    connection, _ = worker.connect(b"x", takes=[error])
    worker.handler = writes(b"lost")
    worker.turn(connection)
    assert worker.reasons == [CloseReason.RESET]


@pytest.mark.parametrize("error", [RESET, PIPE])
def test_a_peer_that_is_gone_while_something_waits_ends_the_connection(error):
    worker = Worker()
    connection, _ = worker.connect(b"x", takes=[1, error])
    worker.handler = writes(b"lost")
    worker.turn(connection)
    worker.turn(connection, WRITE | HANG_UP)
    assert worker.reasons == [CloseReason.RESET]
    assert (worker.stalled, worker.loop.watched) == ({}, {})


def test_a_call_when_writable_comes_at_once_if_nothing_waits():
    worker = Worker()
    connection, sock = worker.connect()
    connection.call_when_writable(lambda each: each.write(b"more"))
    assert sock.taken == b""
    worker.end_turn()
    assert sock.taken == b"more"


def test_a_call_when_writable_waits_for_the_low_water_mark():
    worker = Worker(high_water=100, low_water=4)
    connection, sock = worker.connect(b"x", takes=[2, 3, 1, 1])

    def handler(each):
        each.read()
        each.write(b"123456789ab")
        each.call_when_writable(lambda again: again.write(b"more"))

    worker.handler = handler
    worker.turn(connection)
    worker.turn(connection, WRITE)
    assert connection.unsent == 6
    worker.turn(connection, WRITE)
    assert connection.unsent == 5
    worker.turn(connection, WRITE)
    assert connection.unsent == 8
    worker.turn(connection, WRITE)
    assert sock.taken == b"123456789abmore"


def test_a_function_that_asks_again_is_called_again_in_a_later_turn():
    worker = Worker()
    connection, sock = worker.connect()
    left = [b"c", b"b", b"a"]

    def more(each):
        each.write(left.pop())
        if left:
            each.call_when_writable(more)

    connection.call_when_writable(more)
    worker.end_turn()
    assert sock.taken == b"a"
    worker.turn(connection, WRITE)
    worker.turn(connection, WRITE)
    assert sock.taken == b"abc"
    assert worker.loop.watched == {7: READ}


def test_a_call_when_writable_that_fails_ends_the_connection():
    worker = Worker()
    connection, _ = worker.connect()
    connection.call_when_writable(lambda each: each.no_such_method())
    worker.end_turn()
    assert [report[:2] for report in worker.reports] == [("culprit", "on_readable")]
    assert worker.reasons == [CloseReason.PLUGIN_FAILED]


def test_a_connection_that_closes_is_not_called_when_writable():
    worker = Worker()
    connection, _ = worker.connect()
    called = []
    connection.call_when_writable(called.append)
    connection.close()
    worker.end_turn()
    assert called == []
    assert worker.reasons == [CloseReason.PLUGIN]


class Author:
    """Writes to a connection, within its handler and outside, and looks at what arrives."""

    def __init__(self, worker, connection, sock):
        self.worker, self.connection, self.sock = worker, connection, sock
        self.written = b""

    def write(self, chunks, flushing=False):
        for chunk in chunks:
            self.connection.write(chunk)
            self.written += chunk
            self.check()
            if flushing:
                self.connection.flush()

    def write_within(self, chunks, flushing=False):
        def handler(connection):
            connection.read()
            self.write(chunks, flushing)

        self.worker.handler = handler
        if self.is_watched(READ):
            self.worker.event(self.connection)

    def pause(self):
        self.connection.pause_reading()
        self.connection.resume_reading()

    def is_watched(self, mask):
        return self.worker.loop.watched.get(7, 0) & mask

    def check(self):
        assert self.written.startswith(self.sock.taken)
        assert len(self.written) - len(self.sock.taken) == self.connection.unsent


@given(WRITES, TAKES, st.integers(1, 40), st.integers(0, 40))
def test_a_peer_gets_exactly_what_was_written_in_order(writings, takes, high, low):
    worker = Worker(high_water=max(high, low), low_water=low)
    connection, sock = worker.connect(*[b"x"] * 8, takes=takes_of(takes))
    author = Author(worker, connection, sock)
    ways = {
        "within": author.write_within,
        "within, flushing": lambda chunks: author.write_within(chunks, flushing=True),
        "outside": author.write,
        "outside, pausing": lambda chunks: (author.write(chunks), author.pause()),
        "at the end of a turn": lambda chunks: (author.write(chunks), worker.end_turn()),
    }
    for way, chunks in writings:
        ways[way](chunks)
        if author.is_watched(WRITE):
            worker.turn(connection, WRITE)
        author.check()
    connection.close()
    worker.end_turn()
    while worker.loop.watched:
        worker.turn(connection, WRITE)
    assert sock.taken == author.written
    assert worker.reasons == [CloseReason.PLUGIN]
