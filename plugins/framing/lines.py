"""Lines that end in LF or CRLF."""

from __future__ import annotations

from collections.abc import Iterator
from operator import length_hint

from host.plugins.framing.base import FrameTooLongError

_CR = ord("\r")
_CUT_BYTES = 2048
"""Longer input is cut in parts: where the taker stops early, the rest would be cut for nothing."""
_FIRST_CUT_BYTES = 64
"""How much is cut after a part that was not handed out whole. Each further cut takes twice as much,
so what is cut for nothing is never much more than what was handed out in between."""

# Lines that are cut are handed out by the iterator of their list, and how many are left is asked of
# it: the interpreter counts already, and a counter of our own would be a step in Python for each
# line. `length_hint` may guess (PEP 424), but for a list's iterator it is exact: the list's length
# less the iterator's place, and 0 once it has ended or the list is cleared.
lines_left = length_hint
"""Return how many lines an iterator from `LineFramer.cut` has still to hand out."""


class LineFramer:
    r"""Cuts lines that end in LF or CRLF; they are handed out without their end.

    Args:
        max_bytes: the longest line, without its end. A longer one is skipped up to its end, and
            FrameTooLongError tells of it once. Of an unfinished line no more than `max_bytes` + 1
            bytes are kept (the one may be the CR of an end whose LF has not come), once all that
            stands before it has been handed out.

    Attributes:
        uncut: true as long as another `cut` may return more lines.
        chunk: what the lines of the last `cut` were cut from.
    """

    __slots__ = (
        *("_ahead", "_at", "_at_once", "_lines", "_list", "_max", "_skipping", "_tail"),
        *("chunk", "uncut"),
    )

    def __init__(self, max_bytes: int = 16_384) -> None:
        self._max = max_bytes
        self._at_once = min(max_bytes, _CUT_BYTES)
        self._tail = bytearray()  # the beginning of a line: searched, and there is no end in it
        self._list: list[bytes] = []  # lines that were cut
        self._lines = iter(self._list)  # and, of these, those that were not handed out
        self.chunk = b""
        self.uncut = bytearray()  # what follows; before `_at` it has been cut
        self._at = 0
        self._ahead = _FIRST_CUT_BYTES  # how much of it the next cut takes
        self._skipping = False

    @property
    def between(self) -> bool:
        """Whether the next byte that is fed begins a line."""
        return not (self.uncut or self._tail or self._skipping or lines_left(self._lines))

    @property
    def waiting(self) -> int:
        """How many bytes were fed and not handed out."""
        self._take_back()
        return len(self._tail) + len(self.uncut) - self._at

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take in `data`; yield each line that is complete."""
        self._take_in(data)
        return self._hand_out()

    def cut(self, data: bytes = b"") -> Iterator[bytes]:
        """Take in `data`; return an iterator over the next lines, over none if none is complete.

        It costs less than `feed` for many short lines, since no generator runs for each of them.
        Up to 2 KiB of lines are cut at once. Lines that the last iterator has not handed out are
        returned first, and the lines in `data` by the next call.

        Raises:
            FrameTooLongError: the next line is too long; the next call goes on after it.
        """
        if (
            len(data) > self._at_once
            or self.uncut
            or self._tail
            or self._skipping
            or lines_left(self._lines)
        ):
            self._take_in(data)
            return self._cut_next()
        return self._cut(data)

    def take(self, limit: int | None = None) -> bytes:
        """Take up to `limit` bytes (None: all) of what was fed and not handed out."""
        self._take_back()
        self._skipping = False
        tail = self._tail
        taken = bytes(tail[:limit])
        del tail[: len(taken)]
        end = len(self.uncut) if limit is None else self._at + limit - len(taken)
        if self._at < end:
            rest = self._copy(end)
            self._go_to(self._at + len(rest))
            taken = taken + rest if taken else rest
        return taken

    def unread(self, data: bytes) -> None:
        """Put `data`, which had been taken, in front of everything that waits.

        For what was taken last this costs as much as `data` is long, whatever waits behind it.
        """
        self._take_back()
        self._skipping = False
        data += self._tail
        self._tail.clear()
        self._put_back(data)

    def _hand_out(self) -> Iterator[bytes]:
        while True:
            line = next(self._lines, None)
            if line is None:
                line = next(self.cut(), None)
                if line is None:
                    return
            yield line

    def _cut(self, chunk: bytes) -> Iterator[bytes]:
        """Cut a chunk that begins with a line and is no longer than a line may be."""
        lines = chunk.split(b"\n")
        if rest := lines.pop():
            self._tail += rest
        if _CR in chunk:
            lines = [line[:-1] if line[-1:] == b"\r" else line for line in lines]
        self.chunk, self._list = chunk, lines
        self._lines = left = iter(lines)
        return left

    def _cut_next(self) -> Iterator[bytes]:
        """Return the lines that are left, or cut what comes next: short lines, or a long one."""
        if lines_left(self._lines):
            return self._lines
        if self._skipping and not self._skip():
            return self._lines
        data, at = self.uncut, self._at
        end = data.find(b"\n", at) + 1
        if not end:
            self._keep()
        elif self._tail or end - at > min(self._max, self._ahead):
            self.chunk = bytes(self._tail) + self._copy(end)
            self._tail.clear()
            self._go_to(end)
            self._list = [self._checked(self.chunk[:-1])]
            self._lines = iter(self._list)
        else:
            end = data.rfind(b"\n", at, at + min(self._max, self._ahead)) + 1
            self._ahead = min(2 * self._ahead, _CUT_BYTES)
            chunk = self._copy(end)
            self._go_to(end)
            return self._cut(chunk)
        return self._lines

    def _take_in(self, data: bytes) -> None:
        if self._at > len(self.uncut) // 2:  # not each time: what is behind it would move each time
            del self.uncut[: self._at]
            self._at = 0
        self.uncut += data

    def _take_back(self) -> None:
        """Put lines that were cut and not handed out back in front of what is uncut."""
        left = lines_left(self._lines)
        if left:
            # The chunk ends in these lines and in what the tail holds, so counting line ends from
            # its end finds where they begin. All lines of a chunk are in the list.
            start = 0
            if left < len(self._list):
                start = len(self.chunk.rsplit(b"\n", left + 1)[0]) + 1
            self._tail.clear()
            self._list.clear()  # who goes through the iterator is at its end
            self._ahead = _FIRST_CUT_BYTES
            self._put_back(self.chunk[start:])

    def _put_back(self, data: bytes) -> None:
        """Put `data` in front of what is uncut: as a rule it is still there, before `_at`."""
        start = self._at - len(data)
        if start >= 0 and self.uncut[start : self._at] == data:
            self._at = start
        else:
            self.uncut[: self._at] = data
            self._at = 0

    def _copy(self, end: int) -> bytes:
        """Return what is uncut, up to `end`."""
        return bytes(self.uncut[self._at : end])

    def _go_to(self, end: int) -> None:
        """Note that everything before `end` is cut."""
        self._at = end
        if end == len(self.uncut):
            self.uncut.clear()
            self._at = 0

    def _skip(self) -> bool:
        """Leave out the rest of a line that was too long; tell whether its end has come."""
        end = self.uncut.find(b"\n", self._at) + 1
        self._skipping = not end
        self._go_to(end or len(self.uncut))
        return not self._skipping

    def _checked(self, line: bytes) -> bytes:
        if line[-1:] == b"\r":
            line = line[:-1]
        if len(line) > self._max:
            raise FrameTooLongError(self._max)
        return line

    def _keep(self) -> None:
        """Keep the beginning of a line, unless it is too long already."""
        tail = self._tail
        tail += memoryview(self.uncut)[self._at :]
        self._go_to(len(self.uncut))
        size = len(tail)
        if size > self._max and (size > self._max + 1 or tail[-1] != _CR):
            tail.clear()
            self._skipping = True
            raise FrameTooLongError(self._max)
