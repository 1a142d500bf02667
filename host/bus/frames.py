"""Frames of the bus between supervisor and workers: how they are written, queued and read."""

from __future__ import annotations

import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator
from enum import IntEnum
from functools import partial
from typing import NamedTuple

_HEAD = struct.Struct("<IBHI")  # payload's length, kind, name's length, number
MAX_NAME_BYTES = 512
MAX_PAYLOAD_BYTES = 1_048_576
_HEAD_BYTES, _unpack_head = _HEAD.size, _HEAD.unpack_from
_MOST_BYTES = MAX_PAYLOAD_BYTES + MAX_NAME_BYTES
MAX_QUEUED_BYTES = 8_388_608
"""What may wait for one process; more is dropped and counted: a hung worker costs no more."""
_READ_BYTES = 122_880
"""How much is read at once. For more than 128 KiB glibc maps memory anew for each read (mallopt(3),
M_MMAP_THRESHOLD), which takes longer than all the rest.
"""
_SEND_BYTES = 262_144


class Kind(IntEnum):
    """What a frame says; `number` and `name` mean what stands behind it.

    Those up to `READ_PREFIX` come from a worker, those from `MESSAGE` on go to one.
    """

    SUBSCRIBE = 1  # number: the subscription; name: the topic
    SUBSCRIBE_PREFIX = 2  # number: the subscription; name: how the topics begin
    UNSUBSCRIBE = 3  # name: the topic
    UNSUBSCRIBE_PREFIX = 4  # name: how the topics begin
    PUBLISH = 5  # number: how many to retain; name: the topic
    PUBLISH_TOLD = 6  # the same; ORDERED answers it
    OWN = 7  # name: the key
    RELEASE = 8  # name: the key
    TABLE = 9  # number: the request; name: the table; payload: `tables.Request`
    READ = 10  # number: the question; name: the topic; answered as SUBSCRIBE
    READ_PREFIX = 11  # the same; name: how the topics begin
    MESSAGE = 32  # name: the topic; the payload: `with_sender`
    RETAINED = 33  # number: the subscription; name: the topic; the payload: `with_sender`
    SUBSCRIBED = 34  # number: the subscription
    ORDERED = 35  # number: 1, or 0 if it has no place; for each PUBLISH_TOLD, in their order
    OWNED = 36  # number: 1 or 0; name: the key; payload: the fencing number, 8 bytes
    LOST = 37  # number: how many messages were dropped; 0 if that is not known
    ITEMS = 38  # number: the request; payload: some items of the table, as `tables` writes them
    ANSWER = 39  # number: the request; payload: `tables.Answer`
    NO_ANSWER = 40  # number: the request
    FULL = 41  # number: 1 while nothing more can be published, 0 afterwards
    TRUST = 42  # payload: `TIME`, until when owned keys are certainly owned
    FENCE = 43  # name: a key that is owned; payload: its new fencing number, 8 bytes
    TAKEN = 44  # name: a key that was owned and has another owner now


BRIDGE = 0
"""The number of the bridge to a broker among those that send frames: no worker has this pid."""
KIND_AT = 4
"""Where a packed frame has its kind."""
PUBLICATIONS = frozenset(map(int, (Kind.PUBLISH, Kind.PUBLISH_TOLD)))
"""Messages of a worker."""
DELIVERIES = frozenset(map(int, (Kind.MESSAGE, Kind.RETAINED)))
"""Messages for a worker."""
_MESSAGES = PUBLICATIONS | DELIVERIES
_ANSWERS = frozenset(
    {
        Kind.SUBSCRIBED,
        Kind.ORDERED,
        Kind.OWNED,
        Kind.NO_ANSWER,
        Kind.FULL,
        Kind.TRUST,
        Kind.FENCE,
        Kind.TAKEN,
    }
)
_SHORT_BYTES = 64
"""An answer of a table that has no more is as short as the others."""
FENCE = struct.Struct("<Q")
"""A fencing number as a payload."""
TIME = struct.Struct("<d")
"""A time as a payload, in seconds of `clock`."""


def clock() -> float:
    """Return the seconds since the machine was started, those in which it was suspended as well."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def name_bytes(text: str) -> bytes:
    """Return the name of a topic, a key or a table as frames have it.

    Raises:
        ValueError: it is empty or too long.
    """
    name = text.encode()
    if not 0 < len(name) <= MAX_NAME_BYTES:
        raise ValueError(
            f"a topic, key or table has a name of 1 to {MAX_NAME_BYTES} bytes, not {len(name)}"
        )
    return name


def with_sender(sender: bytes, payload: bytes) -> bytes:
    """Return sender and payload of a message as one: at most 255 bytes of sender."""
    return bytes((len(sender),)) + sender + payload


def split_sender(data: bytes) -> tuple[str, bytes]:
    """Return what `with_sender` has joined."""
    end = 1 + data[0]
    return data[1:end].decode(), data[end:]


def packed(kind: int, number: int, name: bytes, payload: bytes = b"") -> bytes:
    """Write a frame; whoever has no `Frame` of it saves making one."""
    return _HEAD.pack(len(payload), kind, len(name), number) + name + payload


class BadFrameError(Exception):
    """What came is no frame: the process at the other end is not to be trusted any more."""


class Frame(NamedTuple):
    """One frame."""

    kind: int
    number: int
    name: bytes
    payload: bytes = b""

    def pack(self) -> bytes:
        """Write it."""
        return packed(self.kind, self.number, self.name, self.payload)


_make_frame: Callable[[tuple[int, int, bytes, bytes]], Frame] = partial(tuple.__new__, Frame)
"""What `Frame` itself does, but it is a function of Python: that takes twice as long."""


class Parser:
    """Takes frames apart, in whatever pieces they come."""

    def __init__(self, rest: bytes = b"") -> None:
        self._data: bytes | bytearray = rest
        self._wanted = 0  # so many bytes the next frame has at least

    @property
    def rest(self) -> bytes:
        """What has come and was not yielded as a frame yet."""
        return bytes(self._data)

    def add(self, data: bytes) -> None:
        """Take in what has come."""
        if not self._data:  # most often: what comes is whole, and is not copied
            self._data = data
        elif isinstance(self._data, bytearray):
            self._data += data
        else:
            self._data = bytearray(self._data + data)

    def frames(self) -> Iterator[Frame]:
        """Yield each complete frame; those that are not asked for stay for the next call.

        Raises:
            BadFrameError: a length is beyond its limit.
        """
        if len(self._data) < self._wanted:
            return
        data, at = bytes(self._data), 0  # slices of it are bytes: no further copies
        have, self._data, self._wanted = len(data), b"", 0
        try:
            while have - at >= _HEAD_BYTES:
                size, kind, name_size, number = _unpack_head(data, at)
                if size > _MOST_BYTES or name_size > MAX_NAME_BYTES:
                    raise BadFrameError(f"a frame of {size} bytes named with {name_size}")
                start = at + _HEAD_BYTES
                middle = start + name_size
                end = middle + size
                if have < end:
                    self._wanted = end - at
                    break
                at = end
                yield _make_frame((kind, number, data[start:middle], data[middle:end]))
        finally:
            if at < have:
                self._data = data[at:] + self._data


class Channel:
    """One end of a process's bus connection: a non-blocking socket with a bounded queue.

    Args:
        sock: a connected stream socket; the channel closes it.
        max_queued: how many bytes of messages may wait.
        closes_gaps: whether from the first message that was dropped all are dropped until
            `take_dropped` has told how many: so nothing comes between a gap and the word of it.

    Attributes:
        frames: yields the frames that have come, as `Parser.frames` does.
        queue: the frames that wait to be sent; `put` adds to it.
        dropped: how many frames the full queue has not taken, since `take_dropped`.
    """

    def __init__(
        self, sock: socket.socket, max_queued: int = MAX_QUEUED_BYTES, *, closes_gaps: bool = False
    ) -> None:
        sock.setblocking(False)
        self._sock, self._max_queued, self._closes_gaps = sock, max_queued, closes_gaps
        self._parser = Parser()
        self.frames = self._parser.frames
        self.queue: deque[bytes] = deque()
        self._queued = 0
        self.dropped = 0

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._sock.fileno()

    @property
    def queued(self) -> int:
        """How many bytes wait to be sent."""
        return self._queued

    def put(self, packed: bytes) -> bool:
        """Queue a frame; False if it was dropped, since too much waits already.

        Only messages fill the first half of the queue. All other frames may fill the second half
        too: while messages are dropped, a key that is released becomes free. Short answers always
        have room, since who asks reads as well: so each question has one.
        """
        waiting = self._queued + len(packed)
        if (waiting > self._max_queued or self.dropped) and not self._has_room(packed, waiting):
            self.dropped += 1
            return False
        self.queue.append(packed)
        self._queued = waiting
        return True

    def take_dropped(self) -> int:
        """Return how many frames were dropped, and count anew; 0 as long as too much waits."""
        if not self.dropped or self._queued > self._max_queued // 2:
            return 0
        count, self.dropped = self.dropped, 0
        return count

    def flush(self, pieces: int = -1) -> bool:
        """Send what the socket takes; True if nothing waits any more.

        Args:
            pieces: how many pieces of 256 KiB are sent at most; -1 for all that the socket takes.

        Raises:
            OSError: the other end is gone.
        """
        queue = self.queue
        while queue and pieces:
            pieces -= 1
            data = queue.popleft() if len(queue) == 1 else self._next_piece()
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                sent = 0
            self._queued -= sent
            if sent < len(data):
                queue.appendleft(data[sent:])
                return False
        return not queue

    def receive(self) -> int:
        """Take in some of what has come, for `frames`.

        Returns:
            How many bytes: 0 if nothing has come, -1 at the end of all.
        """
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            return -1
        self._parser.add(data)
        return len(data) or -1

    def state(self) -> tuple[bytes, bytes, int]:
        """Return what was read and is no whole frame yet, what waits, and what was dropped."""
        return self._parser.rest, b"".join(self.queue), self.dropped

    def restore(self, rest: bytes, queued: bytes, dropped: int) -> None:
        """Go on where a channel of the same socket was."""
        self._parser = Parser(rest)
        self.frames = self._parser.frames
        if queued:
            self.queue.append(queued)
        self._queued, self.dropped = len(queued), dropped

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _has_room(self, packed: bytes, waiting: int) -> bool:
        """Tell whether a frame has room, with which so many bytes wait; see `put`."""
        kind = packed[KIND_AT]
        if kind in _MESSAGES:
            return waiting <= self._max_queued and not (self._closes_gaps and self.dropped)
        return (
            waiting <= 2 * self._max_queued
            or kind in _ANSWERS
            or (kind == Kind.ANSWER and len(packed) <= _SHORT_BYTES)
        )

    def _next_piece(self) -> bytes:
        """Take so many frames off the queue as fit one send."""
        queue, pieces, size = self.queue, [], 0
        while queue and size < _SEND_BYTES:
            pieces.append(queue.popleft())
            size += len(pieces[-1])
        return b"".join(pieces)
