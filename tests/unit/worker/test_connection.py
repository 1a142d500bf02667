"""A connection loses no byte, sends once a turn, and ends once, with the right reason."""

import errno
from contextlib import suppress
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.interfaces import CloseReason, Listener
from host.runtime.loop import READ, WRITE
from host.settings import ConnectionLimits
from host.worker.connection import SocketConnection
from host.worker.context import ListenerContext, Turn
from support.fakes import FakeDescriptors, FakeLoop, FakeSocket

HANG_UP = 0x18  # EPOLLERR | EPOLLHUP
RESET = ConnectionResetError(errno.ECONNRESET, "reset")
PIPE = BrokenPipeError(errno.EPIPE, "broken pipe")


def limits_of(**sizes):
    """Make the settings `[connection]`; the low-water mark is never above the high one."""
    given = {f"{name}_bytes": size for name, size in sizes.items()}
    if "high_water" in sizes:
        given.setdefault("low_water_bytes", min(65_536, sizes["high_water"]))
    return ConnectionLimits(**given)


class Worker:
    """What the worker and the plugins are to connections; what happens is kept in lists."""

    def __init__(self, **limits):
        self.loop, self.descriptors = FakeLoop(), FakeDescriptors()
        self.ends, self.closes, self.reports, self.drains = [], [], [], []
        turn = Turn()
        self.touched, self.stalled = turn.touched, turn.stalled
        self.accept = lambda connection: True
        self.handler = lambda connection: connection.read()
        self.on_drain = lambda connection, deadline: None
        self.context = ListenerContext(
            Listener(0, "tcp://127.0.0.1:7000", "echo"),
            worker=SimpleNamespace(pid=4711, slot=1),
            loop=self.loop,
            on_accept=self._accept,
            on_readable=self._handle,
            on_close=lambda *args: self.closes.append(args),
            on_drain=self._drain,
            blame=lambda error: "culprit",
            report=lambda *failure: self.reports.append(failure),
            on_end=lambda *args: self.ends.append(args),
            limits=limits_of(**limits),
            turn=turn,
            **self.descriptors.calls(),
        )
        self._serial = 0

    # A test may change what is called at any time.

    def _accept(self, connection):
        return self.accept(connection)

    def _handle(self, connection):
        self.handler(connection)

    def _drain(self, connection, deadline):
        with suppress(SystemExit):  # like every hook that is told, it is isolated
            self.on_drain(connection, deadline)

    def connect(self, *arrives, takes=(), address=("127.0.0.1", 50211)):
        """Accept a connection; return it and its socket."""
        self._serial += 1
        sock = FakeSocket(arrives, takes, fd=6 + self._serial)
        fd = self.descriptors.open(sock)
        connection = SocketConnection(fd, address, self._serial, self.context)
        connection.watch()
        connection.begin()
        return connection, sock

    def event(self, connection, mask=READ):
        """Let the loop report an event, of which only what is watched for or a hang-up shows."""
        watched = self.loop.watched.get(connection.fileno())
        assert watched is not None, "nothing is reported of what is not watched"
        mask &= watched | HANG_UP
        assert mask, "nothing happens that is watched for"
        connection.on_event(mask)

    def end_turn(self):
        """End the turn, as the worker does."""
        for connection in self.touched:
            connection.settle()
        self.touched.clear()

    def turn(self, connection, mask=READ):
        self.event(connection, mask)
        self.end_turn()

    @property
    def reasons(self):
        return [reason for _, reason in self.closes]


def echo(connection):
    connection.write(connection.read())


def writes(*chunks):
    def handler(connection):
        connection.read()
        for chunk in chunks:
            connection.write(chunk)

    return handler


# Reading


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


# Writing


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


@pytest.mark.parametrize("wrong", ["text", 5, None, ["a"]])
def test_only_bytes_can_be_written(wrong):
    worker = Worker()
    connection, _ = worker.connect()
    with pytest.raises(TypeError, match="bytes-like"):
        connection.write(wrong)
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


# Writing on, when there is room again


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


# Ending


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


def test_abort_ends_at_once_and_loses_what_is_queued():
    worker = Worker()
    connection, sock = worker.connect()
    connection.write(b"lost")
    connection.abort(CloseReason.DEADLINE)
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


def test_a_connection_that_on_accept_failed_for_is_closed():
    worker = Worker()
    worker.accept = lambda each: each.write(b"hello") or False
    _, sock = worker.connect()
    assert sock.taken == b"hello"
    assert worker.reasons == [CloseReason.PLUGIN_FAILED]


def test_on_accept_may_greet_and_close():
    worker = Worker()
    worker.accept = lambda each: (each.write(b"full"), each.close()) and True
    _, sock = worker.connect()
    assert sock.sends == [b"full"]
    assert worker.reasons == [CloseReason.PLUGIN]


def test_what_on_drain_does_is_done():
    worker = Worker()
    connection, sock = worker.connect()

    def on_drain(each, deadline):
        each.write(b"until %d" % deadline)
        each.close()

    worker.on_drain = on_drain
    connection.drain(12.0)
    assert sock.sends == [b"until 12"]
    assert worker.reasons == [CloseReason.PLUGIN]


def test_a_drained_connection_goes_on_unless_the_plugin_closes_it():
    worker = Worker()
    connection, _ = worker.connect(b"x")
    connection.drain(12.0)
    worker.turn(connection)
    assert worker.reasons == []


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
    connection.abort(CloseReason.RESET)
    connection.settle()
    worker.end_turn()
    assert connection.read() == b""
    assert connection.fileno() == -1
    assert (sock.sends, worker.reasons) == ([], [CloseReason.PLUGIN])
    assert (connection.unsent, worker.loop.watched) == (0, {})


# What it tells about itself


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("127.0.0.1", 50211), "127.0.0.1:50211"),
        (("::1", 50211, 0, 0), "[::1]:50211"),
        ("", "unix"),
    ],
)
def test_a_connection_tells_its_peer(address, peer):
    worker = Worker()
    connection, _ = worker.connect(address=address)
    assert connection.peer == peer
    assert (connection.id, connection.worker.slot) == ("4711-1", 1)
    assert repr(connection) == f"<connection 4711-1 from {peer}>"


def test_each_byte_either_way_is_activity():
    worker = Worker(low_water=1)
    connection, _ = worker.connect(b"x", takes=[1, 1])
    worker.loop.now = 101.0
    worker.turn(connection)
    assert connection.last_active == 101.0
    worker.loop.now = 102.0
    connection.write(b"abc")
    worker.end_turn()
    assert connection.last_active == 102.0
    worker.loop.now = 103.0
    worker.turn(connection, WRITE)
    assert connection.last_active == 103.0


# Whatever happens

TAKES = st.lists(st.one_of(st.integers(0, 40), st.just("block")), max_size=30)
CHUNKS = st.lists(st.binary(max_size=30), max_size=30)


def takes_of(script):
    return [BlockingIOError() if item == "block" else item for item in script]


WRITES = st.lists(
    st.tuples(
        st.sampled_from(
            ["within", "within, flushing", "outside", "outside, pausing", "at the end of a turn"]
        ),
        CHUNKS,
    ),
    max_size=8,
)


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


ERRORS = [RESET, PIPE]
ACTS = st.lists(
    st.one_of(
        st.sampled_from(
            ["read", "write", "flush", "pause", "resume", "close", "half", "later", "fail"]
        ),
        st.sampled_from(
            ["abort", "idle", "drain", "rest", "on_readable", "on_writable", "hang up"]
        ),
    ),
    max_size=40,
)
ARRIVES = st.lists(st.sampled_from([b"some", b"", *ERRORS]), max_size=5)
KERNEL = st.lists(st.one_of(st.integers(0, 9), st.sampled_from(["block", *ERRORS])), max_size=9)


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
        "abort": lambda: connection.abort(CloseReason.DEADLINE),
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
    connection.abort(CloseReason.DEADLINE)
    worker.end_turn()
    assert len(worker.closes) == len(worker.ends) == 1
    assert worker.ends == worker.closes
    assert sock.closed
    assert (worker.stalled, worker.loop.watched, worker.touched) == ({}, {}, [])


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
