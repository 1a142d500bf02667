"""Hub, channel and log go on as if nothing had happened when another process takes them over."""

import fcntl
import os
import select
import socket
from contextlib import contextmanager

from hypothesis import given
from hypothesis import strategies as st

from host.bus.frames import Channel, Frame, Kind, Parser
from host.bus.hub import Hub, HubLimits
from host.telemetry.emitter import Record
from host.telemetry.events import Event, Level
from host.telemetry.logs import LogWriter

# The hub

MEMBERS = st.integers(1, 3)
NAMES = st.sampled_from([b"a", b"b", b"bus.left"])
PAYLOADS = st.binary(max_size=3) | st.just(bytes(1500))
STEPS = st.lists(
    st.tuples(st.just("join") | st.just("leave"), MEMBERS)
    | st.tuples(
        MEMBERS,
        st.builds(
            Frame,
            st.sampled_from([Kind.SUBSCRIBE, Kind.UNSUBSCRIBE, Kind.OWN, Kind.RELEASE]),
            st.integers(0, 9),
            NAMES,
        ),
    )
    | st.tuples(
        MEMBERS, st.builds(Frame, st.just(Kind.PUBLISH), st.integers(0, 3), NAMES, PAYLOADS)
    ),
    max_size=30,
)


class Recorded:
    """A hub, and what it sends."""

    def __init__(self, **limits):
        self.sent, self.members = [], set()
        self.hub = Hub(lambda *each: self.sent.append(each), HubLimits(**limits))

    def do(self, steps):
        for step in steps:
            match step:
                case ("join", member):
                    self.hub.join(member)
                    self.members.add(member)
                case ("leave", member):
                    self.hub.leave(member)
                    self.members.discard(member)
                case (member, frame) if member in self.members:
                    self.hub.receive(member, frame)

    def ask_everything(self):
        """Have a new member ask for all that can be asked for."""
        self.do([("join", 9)])
        for name in (b"a", b"b", b"bus.left"):
            self.do([(9, Frame(Kind.SUBSCRIBE, 1, name)), (9, Frame(Kind.OWN, 0, name))])
            self.do([(9, Frame(Kind.PUBLISH, 0, name, b"who hears?"))])


SMALL = {"retained": 2, "retained_bytes": 6_000, "keys": 2}
"""Limits so low that rings and claims meet them."""


@given(STEPS, STEPS, st.booleans())
def test_a_hub_that_takes_over_sends_what_the_one_before_would_have_sent(before, after, join_first):
    one, other = Recorded(**SMALL), Recorded(**SMALL)
    one.do([("join", 1), ("join", 2), *before])
    joins = [("join", member) for member in sorted(one.members)]
    if join_first:
        other.do(joins)
    other.hub.restore(one.hub.state())
    if not join_first:
        other.do(joins)
    one.sent.clear()
    for each in (one, other):
        each.do(after)
        each.ask_everything()
    assert other.sent == one.sent
    assert other.hub.state() == one.hub.state()


def test_a_state_is_no_part_of_the_hub():
    one = Recorded()
    one.do([("join", 1), (1, Frame(Kind.SUBSCRIBE, 1, b"a")), (1, Frame(Kind.OWN, 0, b"k"))])
    state = one.hub.state()
    one.do([(1, Frame(Kind.PUBLISH, 2, b"a", b"x")), (1, Frame(Kind.UNSUBSCRIBE, 0, b"a"))])
    one.do([("leave", 1)])
    assert (state.hearers, state.owners, state.rings) == ([(b"a", [1])], [(b"k", 1)], [])


# Channels

FRAMES = st.lists(
    st.builds(
        Frame,
        st.sampled_from(Kind),
        st.integers(0, 2**32 - 1),
        st.binary(max_size=20),
        st.binary(max_size=90),
    ),
    max_size=8,
)


@contextmanager
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@given(FRAMES, st.integers(0, 10_000))
def test_a_channel_goes_on_amid_what_is_read(frames, cut):
    data = b"".join(frame.pack() for frame in frames)
    cut %= len(data) + 1
    with pair() as (ours, theirs):
        channel, read = Channel(ours), []
        for piece in (data[:cut], data[cut:]):
            theirs.sendall(piece)
            read += channel.receive() or ()
            state = channel.state()
            channel = Channel(ours)
            channel.restore(*state)
        assert read == frames
        assert channel.state() == (b"", b"", 0)


@given(FRAMES, FRAMES, st.integers(0, 200))
def test_a_channel_goes_on_amid_what_is_sent_within_the_same_limits(before, after, limit):
    with pair() as (ours, theirs):
        one, other = (Channel(ours, max_queued=limit) for _ in range(2))
        for frame in before:
            one.put(frame.pack())
        other.restore(*one.state())
        for frame in after:
            assert other.put(frame.pack()) is one.put(frame.pack())
            assert (other.queued, other.dropped) == (one.queued, one.dropped)
        assert bool(other.queue) is bool(one.queue)
        assert other.state() == one.state()
        waiting, dropped = other.state()[1:]
        assert other.flush()
        assert (other.queued, len(other.queue)) == (0, 0)
        assert other.take_dropped() == dropped
        theirs.setblocking(False)
        received = theirs.recv(1 << 16) if waiting else b""
        assert received == waiting
        assert sum(1 for _ in Parser().feed(received)) + dropped == len(before) + len(after)


def test_what_was_sent_in_part_is_completed():
    frames = [Frame(Kind.MESSAGE, number, b"t", bytes(100_000)) for number in range(30)]
    with pair() as (ours, theirs):
        one, other, reader = Channel(ours), Channel(ours), Channel(theirs)
        for frame in frames:
            one.put(frame.pack())
        assert not one.flush()
        other.restore(*one.state())
        assert other.queued == one.queued
        read = []
        while len(read) < len(frames):
            read += reader.receive()
            other.flush()
        assert read == frames
        assert not other.queue


# The log

SAYS = Event("says", Level.INFO, "{what}")


@contextmanager
def full_pipe():
    """A pipe with room for nothing; yield its ends and how to read all that is in it."""
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
    os.set_blocking(reader, False)
    os.write(writer, b"#" * size)

    def read():
        return os.read(reader, 1 << 20).lstrip(b"#")

    try:
        yield writer, read
    finally:
        os.close(reader)
        os.close(writer)


def writer_to(descriptor, max_waiting=3):
    return LogWriter(descriptor, lambda record: f"{record.fields}\n", Level.DEBUG, max_waiting)


def say(log, *whats):
    for what in whats:
        log(Record(SAYS, 0.0, {"what": what}))


def test_lines_that_waited_are_written_first_and_dropped_ones_are_counted_on():
    with full_pipe() as (descriptor, read):
        one, other = writer_to(descriptor), writer_to(descriptor, max_waiting=4)
        say(one, *range(5))
        say(other, "mine")
        other.restore(*one.state())
        say(other, "one too many")
        assert one.state() == ([b"{'what': 0}\n", b"{'what': 1}\n", b"{'what': 2}\n"], 2)
        read()
        other.flush()
        expected = [{"what": what} for what in (0, 1, 2, "mine")] + [{"count": 3}]
        assert read().decode().splitlines() == list(map(str, expected))
        assert other.state() == ([], 0)
        one.forget()
        for each in (one, other):
            each.close()


def test_a_line_that_was_written_in_part_is_completed():
    with full_pipe() as (descriptor, read):
        one, other = writer_to(descriptor), writer_to(descriptor)
        read()
        say(one, "x" * 3 * select.PIPE_BUF)
        other.restore(*one.state())
        got = b""
        while other.state()[0]:
            got += read()
            other.flush()
        assert got + read() == f"{ {'what': 'x' * 3 * select.PIPE_BUF} }\n".encode()
        one.forget()
        for each in (one, other):
            each.close()
