"""The wire of a fake connection: what the kernel and the network are for a real one."""

from __future__ import annotations

import os

from host.runtime.loop import READ, WRITE


class Wire:
    """Stands in for the descriptor; the peer's end is driven by the test.

    The methods `read`, `write` and `close` are what connections do with a descriptor.

    Attributes:
        arrived: what the peer has sent and nobody has read yet.
        finished: whether the peer has finished sending.
        broken: whether the peer has reset the connection.
        was_reset: whether the host has.
        sent: what was sent to the peer and it has not taken yet.
        window: how much of that there may be before nothing more is sent; None for any amount.
        announces: whether the loop is told that there is something to read.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.arrived = bytearray()
        self.finished = self.broken = self.closed = self.was_reset = False
        self.sent = bytearray()
        self.window: int | None = None
        self.announces = True

    @property
    def room(self) -> int:
        """How many bytes are sent before the peer takes some."""
        return 1 << 62 if self.window is None else max(0, self.window - len(self.sent))

    def ready(self) -> int:
        """Return the events that epoll would tell of this socket."""
        mask = 0
        if self.announces and (self.arrived or self.finished or self.broken):
            mask = READ
        if self.room or self.broken:
            mask |= WRITE
        return mask

    def fileno(self) -> int:
        """Return the number it goes by in the loop, -1 once it is closed."""
        return -1 if self.closed else self._fd

    def read(self, size: int) -> bytes:
        """Return what has arrived."""
        if self.broken:
            raise ConnectionResetError
        if not self.arrived:
            if self.finished:
                return b""
            raise BlockingIOError
        data = bytes(self.arrived[:size])
        del self.arrived[:size]
        return data

    def read_into(self, buffer: bytearray | memoryview) -> int:
        """Put what has arrived into `buffer`; return how many bytes."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send_file(self, file: int, offset: int, count: int) -> int:
        """Take as much of a file as there is room for."""
        data = os.pread(file, count, offset)
        return self.write(data) if data else 0

    def reset(self) -> None:
        """Have `close` lose what the peer has not taken."""
        self.was_reset = True
        self.sent.clear()

    def write(self, data: bytes | memoryview) -> int:
        """Take as much as there is room for."""
        if self.broken:
            raise BrokenPipeError
        size = min(len(data), self.room)
        if not size:
            raise BlockingIOError
        self.sent += data[:size]
        return size

    def close(self) -> None:
        """Close the host's end; what was sent is still there for the peer."""
        self.closed = True
