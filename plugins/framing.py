"""Framers: cut a stream of bytes into messages. Sans-I/O, one interface, for any protocol.

    framer = LineFramer(max_bytes=16_384)
    for message in framer.feed(connection.read()):
        ...

`feed` returns a lazy iterator: a message counts as taken only when it has been handed out. So a
handler can stop in the middle of what has arrived, `take` the rest as raw bytes, and go on framing
later. Each byte is searched once, however it arrives, so the time is linear.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

_CUT_BYTES = 2048


class FrameTooLongError(ValueError):
    """A message is longer than the limit.

    Attributes:
        limit: the limit in bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"message longer than {limit} bytes")


class FrameSyntaxError(ValueError):
    """What came is no frame, and nothing after it can be understood: close the connection."""


class Framer(Protocol):
    """What all framers do."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take in `data`; yield each message that is complete, without its framing.

        Raises:
            FrameTooLongError: while iterating. A line framer has skipped the message, and
                `feed(b"")` goes on after it; for others the stream is lost, as with
                FrameSyntaxError.
            FrameSyntaxError: while iterating.
        """

    def take(self, limit: int | None = None) -> bytes:
        """Take up to `limit` bytes (None: all) of what was fed and not handed out, as they came."""

    @property
    def waiting(self) -> int:
        """How many bytes were fed and not handed out."""


class LineFramer:
    r"""Cuts lines that end in LF or CRLF; they are handed out without their end.

    Args:
        max_bytes: the longest line, without its end. A longer one is skipped up to its end, and
            FrameTooLongError tells of it once. Of an unfinished line no more than `max_bytes` + 1
            bytes are kept (the one may be the CR of an end whose LF has not come), once all that
            stands before it has been handed out.
    """

    __slots__ = ("_at", "_data", "_max", "_skipping", "_tail")

    def __init__(self, max_bytes: int = 16_384) -> None:
        self._max = max_bytes
        self._tail = bytearray()  # the beginning of a line: searched, and there is no end in it
        self._data = b""  # what follows it; before `_at` it has been handed out
        self._at = 0
        self._skipping = False

    @property
    def waiting(self) -> int:
        """How many bytes were fed and not handed out."""
        return len(self._tail) + len(self._data) - self._at

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take in `data`; yield each line that is complete."""
        if data:
            self._data, self._at = self._data[self._at :] + data, 0
        return self._hand_out()

    def take(self, limit: int | None = None) -> bytes:
        """Take up to `limit` bytes (None: all) of what was fed and not handed out."""
        self._skipping = False
        end = len(self._data) if limit is None else self._at + limit - len(self._tail)
        if not self._tail:
            taken = self._data[self._at : end]
            self._at += len(taken)
        elif end < self._at:
            taken = bytes(self._tail[:limit])
            del self._tail[:limit]
        else:
            taken = bytes(self._tail) + self._data[self._at : end]
            self._at += len(taken) - len(self._tail)
            self._tail.clear()
        return taken

    def unread(self, data: bytes) -> None:
        """Put `data`, which had been taken, in front of everything that waits."""
        self._data, self._at = data + self.take(), 0

    def _hand_out(self) -> Iterator[bytes]:
        while end := self._data.find(b"\n", self._at) + 1:
            if self._skipping:
                self._skipping, self._at = False, end
            elif self._tail:
                line = bytes(self._tail) + self._data[self._at : end - 1]
                self._tail.clear()
                self._at = end
                yield self._checked(line)
            else:
                yield from self._several(end)
        self._keep()

    def _several(self, end: int) -> Iterator[bytes]:
        """Hand out the line that ends at `end`, and others of those next to it.

        Cutting many with one call takes half the time; but what is cut is lost work if the taker
        stops, so it is not all.
        """
        data, at = self._data, self._at
        cut = data[at : max(end, at + _CUT_BYTES)]
        lines = cut.split(b"\n")
        lines.pop()
        # Without a CR, and with all of it no longer than a line may be, no line needs a look.
        plain = len(cut) <= self._max and b"\r" not in cut
        for line in lines:
            at += len(line) + 1
            self._at = at
            yield line if plain else self._checked(line)
            if self._at != at or self._data is not data:  # the taker has fed or taken something
                return

    def _checked(self, line: bytes) -> bytes:
        if line[-1:] == b"\r":
            line = line[:-1]
        if len(line) > self._max:
            raise FrameTooLongError(self._max)
        return line

    def _keep(self) -> None:
        """Keep the beginning of a line, unless it is too long already."""
        tail = self._tail
        if not self._skipping:
            tail += memoryview(self._data)[self._at :]
        self._data, self._at = b"", 0
        size = len(tail)
        if size > self._max and (size > self._max + 1 or tail[-1] != 0x0D):
            tail.clear()
            self._skipping = True
            raise FrameTooLongError(self._max)


class _CountedFramer:
    """What framers have in common whose messages say beforehand how long they are."""

    __slots__ = ("_at", "_data", "_max")

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._data = bytearray()
        self._at = 0  # what is before it has been handed out

    @property
    def waiting(self) -> int:
        """How many bytes were fed and not handed out."""
        return len(self._data) - self._at

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take in `data`; yield each message that is complete."""
        self._data += data
        return self._hand_out()

    def take(self, limit: int | None = None) -> bytes:
        """Take up to `limit` bytes (None: all) of what was fed and not handed out."""
        end = len(self._data) if limit is None else self._at + limit
        taken = bytes(self._data[self._at : end])
        self._at += len(taken)
        self._drop()
        return taken

    def _hand_out(self) -> Iterator[bytes]:
        try:
            while (frame := self._next()) is not None:
                start, end, self._at = frame
                yield bytes(self._data[start:end])
        finally:
            self._drop()

    def _drop(self) -> None:
        del self._data[: self._at]
        self._at = 0

    def _next(self) -> tuple[int, int, int] | None:
        """Return where the next message starts and ends, and where its frame ends, or None."""
        raise NotImplementedError


class LengthFramer(_CountedFramer):
    """Cuts messages that begin with their length, big-endian.

    Args:
        size: how many bytes the length takes.
        max_bytes: the longest message, without its length.
    """

    __slots__ = ("_size",)

    def __init__(self, size: Literal[1, 2, 4] = 4, max_bytes: int = 1_048_576) -> None:
        super().__init__(max_bytes)
        self._size = size

    def frame(self, message: bytes) -> bytes:
        """Return `message` with its length in front.

        Raises:
            FrameTooLongError: it is longer than the limit, or than the length can say.
        """
        limit = min(self._max, 256**self._size - 1)
        if len(message) > limit:
            raise FrameTooLongError(limit)
        return len(message).to_bytes(self._size, "big") + message

    def _next(self) -> tuple[int, int, int] | None:
        start = self._at + self._size
        if len(self._data) < start:
            return None
        length = int.from_bytes(self._data[self._at : start], "big")
        if length > self._max:
            raise FrameTooLongError(self._max)
        end = start + length
        return None if len(self._data) < end else (start, end, end)


class NetstringFramer(_CountedFramer):
    """Cuts netstrings: `5:hello,` (D. J. Bernstein, "Netstrings", 1997).

    Args:
        max_bytes: the longest message, without its framing.
    """

    __slots__ = ()

    def __init__(self, max_bytes: int = 1_048_576) -> None:
        super().__init__(max_bytes)

    def frame(self, message: bytes) -> bytes:
        """Return `message` as a netstring.

        Raises:
            FrameTooLongError: it is longer than the limit.
        """
        if len(message) > self._max:
            raise FrameTooLongError(self._max)
        return b"%d:%b," % (len(message), message)

    def _next(self) -> tuple[int, int, int] | None:
        longest = len(str(self._max)) + 1
        colon = self._data.find(b":", self._at, self._at + longest)
        digits = self._data[self._at : colon if colon >= 0 else self._at + longest]
        if (digits and not digits.isdigit()) or (digits[:1] == b"0" and len(digits) > 1):
            raise FrameSyntaxError("a netstring begins with its length in decimal digits")
        if colon < 0:
            if len(digits) == longest:
                raise FrameTooLongError(self._max)
            return None
        if not digits:
            raise FrameSyntaxError("a netstring begins with its length in decimal digits")
        if int(digits) > self._max:
            raise FrameTooLongError(self._max)
        start, end = colon + 1, colon + 1 + int(digits)
        if len(self._data) <= end:
            return None
        if self._data[end] != 0x2C:
            raise FrameSyntaxError("a netstring ends in a comma")
        return start, end, end + 1
