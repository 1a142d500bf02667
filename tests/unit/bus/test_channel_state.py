"""A channel that takes over goes on amid what is read and what is sent."""

import socket
from contextlib import contextmanager

from hypothesis import given
from hypothesis import strategies as st

from host.bus.frames import Channel, Frame, Kind, Parser

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
            channel.receive()
            read += channel.frames()
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
        assert sum(1 for _ in Parser(received).frames()) + dropped == len(before) + len(after)


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
            reader.receive()
            read += reader.frames()
            other.flush()
        assert read == frames
        assert not other.queue
