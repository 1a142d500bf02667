"""Frames survive any split of the stream; channels are bounded and count what they drop."""

import socket
import tracemalloc
from contextlib import closing, contextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.bus.frames import (
    MAX_NAME_BYTES,
    MAX_PAYLOAD_BYTES,
    BadFrameError,
    Channel,
    Frame,
    Kind,
    Parser,
)

FRAMES = st.builds(
    Frame,
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    st.binary(max_size=20),
    st.binary(max_size=50),
)


@contextmanager
def channels(**limits):
    ours, theirs = socket.socketpair()
    one, other = Channel(ours, **limits), Channel(theirs)
    try:
        yield one, other
    finally:
        one.close()
        other.close()


def fed(parser, data):
    parser.add(data)
    return parser.frames()


def received(channel):
    channel.receive()
    return list(channel.frames())


def pieces(data, cuts):
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.lists(FRAMES, max_size=10), st.lists(st.integers(0, 10_000), max_size=10))
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(frames, cuts):
    parser = Parser()
    data = b"".join(frame.pack() for frame in frames)
    assert [frame for piece in pieces(data, cuts) for frame in fed(parser, piece)] == frames


@given(st.lists(FRAMES, min_size=1, max_size=3))
def test_frames_come_out_byte_by_byte_and_not_before_they_are_complete(frames):
    parser, seen = Parser(), []
    for frame in frames:
        *most, last = frame.pack()
        assert [each for byte in most for each in fed(parser, bytes([byte]))] == []
        seen += fed(parser, bytes([last]))
    assert seen == frames


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_junk_is_frames_or_the_one_error_and_is_not_kept_without_end(data, cuts):
    parser = Parser()
    try:
        for piece in pieces(data, cuts):
            for frame in fed(parser, piece):
                assert len(frame.name) <= MAX_NAME_BYTES
    except BadFrameError:
        pass


@pytest.mark.parametrize(
    "frame",
    [
        Frame(Kind.PUBLISH, 0, b"n" * (MAX_NAME_BYTES + 1), b""),
        Frame(Kind.PUBLISH, 0, b"n", bytes(MAX_PAYLOAD_BYTES + MAX_NAME_BYTES + 1)),
    ],
)
def test_what_is_too_long_is_refused_before_it_has_come(frame):
    with pytest.raises(BadFrameError):
        list(Parser(frame.pack()[:11]).frames())


def test_frames_that_nobody_asks_for_stay():
    frames = [Frame(Kind.PUBLISH, number, b"t", b"x") for number in range(3)]
    parser = Parser(b"".join(frame.pack() for frame in frames))
    with closing(parser.frames()) as some:
        assert next(some) == frames[0]
    assert parser.rest == frames[1].pack() + frames[2].pack()
    assert list(parser.frames()) == frames[1:]
    assert parser.rest == b""


def test_what_comes_while_frames_are_taken_is_behind_the_rest():
    frames = [Frame(Kind.PUBLISH, number, b"t", b"x") for number in range(3)]
    first, *most = frames[0].pack() + frames[1].pack() + frames[2].pack()
    parser = Parser(bytes([first, *most[:30]]))
    with closing(parser.frames()) as some:
        assert next(some) == frames[0]
        parser.add(bytes(most[30:]))
    assert list(parser.frames()) == frames[1:]


def test_a_frame_that_comes_slowly_is_not_copied_with_each_piece():
    parser = Parser(Frame(Kind.PUBLISH, 0, b"t", bytes(MAX_PAYLOAD_BYTES)).pack()[:1000])
    list(parser.frames())
    tracemalloc.start()
    for _ in range(1000):
        parser.add(bytes(1000))
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert list(parser.frames()) == []
        assert tracemalloc.get_traced_memory()[1] < size + 1000
    tracemalloc.stop()
    assert len(next(fed(parser, bytes(50_000))).payload) == MAX_PAYLOAD_BYTES


def test_a_channel_sends_as_many_pieces_as_it_may():
    with channels() as (one, other):
        for _ in range(2):
            one.put(Frame(Kind.MESSAGE, 0, b"t", bytes(70_000)).pack())
            one.put(Frame(Kind.MESSAGE, 0, b"t", bytes(200_000)).pack())
        waiting = one.queued
        assert not one.flush(1)
        assert waiting - one.queued <= 270_100
        while not one.flush(1):
            other.receive()


def test_a_channel_passes_frames_both_ways_and_tells_of_the_end():
    with channels() as (one, other):
        frame = Frame(Kind.PUBLISH, 3, b"topic", b"payload")
        assert received(other) == []
        assert one.put(frame.pack())
        assert one.queue
        assert one.flush()
        assert not one.queue
        assert received(other) == [frame]
        one.close()
        assert other.receive() == -1
        other.put(frame.pack())
        with pytest.raises(OSError, match="Broken pipe"):
            other.flush()


@given(st.lists(st.integers(0, 400), max_size=60))
def test_a_full_channel_drops_counts_and_keeps_the_order_of_the_rest(sizes):
    """Whatever is put is sent or counted as dropped; never more than the limit waits."""
    limit = 1000
    with channels(max_queued=limit) as (one, other):
        taken = []
        for number, size in enumerate(sizes):
            packed = Frame(Kind.MESSAGE, number, b"t", bytes(size)).pack()
            if one.put(packed):
                taken.append(number)
            assert one.queued <= limit
        dropped = len(sizes) - len(taken)
        assert one.dropped == dropped
        if one.queued > limit // 2:
            assert one.take_dropped() == 0
        assert one.flush()
        assert one.queued == 0
        assert one.take_dropped() == dropped
        assert one.take_dropped() == 0
        assert [frame.number for frame in received(other)] == taken


def test_nothing_comes_between_a_gap_and_the_word_of_it():
    packed = Frame(Kind.MESSAGE, 0, b"t", bytes(90)).pack()
    with channels(max_queued=len(packed) * 3, closes_gaps=True) as (one, _):
        assert [one.put(packed) for _ in range(4)] == [True, True, True, False]
        assert one.flush()
        assert not one.put(packed)  # though there is room
        assert one.put(Frame(Kind.OWNED, 1, b"key").pack())
        assert one.take_dropped() == 2
        assert one.put(packed)


def test_answers_have_room_of_their_own_when_messages_are_dropped():
    """A worker waits for each answer; how many there are is up to what it has asked."""
    packed = Frame(Kind.MESSAGE, 0, b"t", bytes(90)).pack()
    answer = Frame(Kind.OWNED, 1, b"key").pack()
    with channels(max_queued=len(packed) * 3) as (one, other):
        while one.put(packed):
            pass
        assert one.put(answer)
        assert not one.put(packed)
        one.flush()
        assert [frame.kind for frame in received(other)] == [Kind.MESSAGE] * 3 + [Kind.OWNED]
        assert all(one.put(answer) for _ in range(1000))  # who asks that often reads as well
        assert not one.put(Frame(Kind.RELEASE, 0, b"key").pack())
        assert one.put(Frame(Kind.ANSWER, 1, b"", b"\1\0").pack())  # of a change of a table
        assert not one.put(Frame(Kind.ANSWER, 1, b"", b"\1\1" + bytes(100)).pack())  # a value


def test_what_the_socket_does_not_take_waits_for_its_turn():
    with channels() as (one, other):
        frames = [Frame(Kind.MESSAGE, number, b"t", bytes(50_000)) for number in range(60)]
        for frame in frames:
            assert one.put(frame.pack())
        assert not one.flush()
        seen = []
        while len(seen) < len(frames):
            seen += received(other)
            one.flush()
        assert seen == frames
        assert one.flush()
