"""Frames of the bus between supervisor and workers: how they are written, queued and read."""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

_HEAD = struct.Struct("<IBHI")  # payload's length, kind, name's length, number
MAX_NAME_BYTES = 512
MAX_PAYLOAD_BYTES = 1_048_576
MAX_QUEUED_BYTES = 8_388_608
"""What may wait for one process; more is dropped and counted: a hung worker costs no more."""
_READ_BYTES = 262_144
_SEND_BYTES = 262_144


class Kind(IntEnum):
    """What a frame says; `number` and `name` mean what stands behind it.

    Those up to `RELEASE` come from a worker, those from `MESSAGE` on go to one.
    """

    SUBSCRIBE = 1  # number: the subscription; name: the topic
    UNSUBSCRIBE = 2  # name: the topic
    PUBLISH = 3  # number: how many to retain; name: the topic
    OWN = 4  # name: the key
    RELEASE = 5  # name: the key
    MESSAGE = 6  # number: the sender; name: the topic
    RETAINED = 7  # number: the subscription; name: the topic; the payload begins with the sender
    SUBSCRIBED = 8  # number: the subscription
    OWNED = 9  # number: 1 or 0; name: the key
    LOST = 10  # number: how many frames were dropped


_KIND_AT = 4
_MESSAGES = frozenset((Kind.PUBLISH, Kind.MESSAGE, Kind.RETAINED))


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
        head = _HEAD.pack(len(self.payload), self.kind, len(self.name), self.number)
        return head + self.name + self.payload


class Parser:
    """Takes frames apart, in whatever pieces they come."""

    def __init__(self, rest: bytes = b"") -> None:
        self._data = bytearray(rest)

    @property
    def rest(self) -> bytes:
        """What has come and is no whole frame yet."""
        return bytes(self._data)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take in `data`; yield each complete frame.

        Raises:
            BadFrameError: a length is beyond its limit.
        """
        buffer, at = self._data, 0
        buffer += data
        try:
            while len(buffer) - at >= _HEAD.size:
                size, kind, name_size, number = _HEAD.unpack_from(buffer, at)
                if size > MAX_PAYLOAD_BYTES + MAX_NAME_BYTES or name_size > MAX_NAME_BYTES:
                    raise BadFrameError(f"a frame of {size} bytes named with {name_size}")
                start = at + _HEAD.size
                end = start + name_size + size
                if len(buffer) < end:
                    break
                name = bytes(buffer[start : start + name_size])
                at = end
                yield Frame(kind, number, name, bytes(buffer[start + name_size : end]))
        finally:
            del buffer[:at]


class Channel:
    """One end of a process's bus connection: a non-blocking socket with a bounded queue.

    Args:
        sock: a connected stream socket; the channel closes it.

    Attributes:
        queue: the frames that wait to be sent; `put` adds to it.
        dropped: how many frames the full queue has not taken, since `take_dropped`.
    """

    def __init__(self, sock: socket.socket, max_queued: int = MAX_QUEUED_BYTES) -> None:
        sock.setblocking(False)
        self._sock, self._max_queued = sock, max_queued
        self._parser = Parser()
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
        too: while messages are dropped, a subscription is still confirmed, a question whether a
        key is owned still answered, and a key that is released becomes free.
        """
        room = self._max_queued if packed[_KIND_AT] in _MESSAGES else 2 * self._max_queued
        if self._queued + len(packed) > room:
            self.dropped += 1
            return False
        self.queue.append(packed)
        self._queued += len(packed)
        return True

    def take_dropped(self) -> int:
        """Return how many frames were dropped, and count anew; 0 as long as too much waits."""
        if not self.dropped or self._queued > self._max_queued // 2:
            return 0
        count, self.dropped = self.dropped, 0
        return count

    def flush(self) -> bool:
        """Send what the socket takes; True if nothing waits any more.

        Raises:
            OSError: the other end is gone.
        """
        queue = self.queue
        while queue:
            data = self._next_piece()
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                sent = 0
            self._queued -= sent
            if sent < len(data):
                queue.appendleft(data[sent:])
                return False
        return True

    def receive(self) -> Iterator[Frame] | None:
        """Return an iterator over the frames that have come, or None at the end.

        Raises:
            BadFrameError: while iterating.
        """
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return iter(())
        except OSError:
            return None
        return self._parser.feed(data) if data else None

    def state(self) -> tuple[bytes, bytes, int]:
        """Return what was read and is no whole frame yet, what waits, and what was dropped."""
        return self._parser.rest, b"".join(self.queue), self.dropped

    def restore(self, rest: bytes, queued: bytes, dropped: int) -> None:
        """Go on where a channel of the same socket was."""
        self._parser = Parser(rest)
        if queued:
            self.queue.append(queued)
        self._queued, self.dropped = len(queued), dropped

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _next_piece(self) -> bytes:
        """Take so many frames off the queue as fit one send."""
        queue, pieces, size = self.queue, [], 0
        while queue and size < _SEND_BYTES:
            pieces.append(queue.popleft())
            size += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
