r"""Requests as Redis clients send them: arrays of words with their lengths, or lines of words.

`*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n` is the request `ECHO hi`, and so is the line `ECHO hi\r\n` (the
protocol specification of Redis, "Sending commands to a Redis server" and "Inline commands").
"""

from __future__ import annotations

from host.plugins.framing.base import FrameSyntaxError, FrameTooLongError
from host.plugins.framing.buffered import BufferedFramer

_MOST_BYTES, _FEWEST_BYTES = 2048, 64
"""In how many bytes whole requests are looked for at a time: in more and more, as long as there are
any; in few again after something odd, so that it is not looked at many times."""
_MOST_DIGITS = 10
_COUNTS = {b"*%d" % count: count for count in range(1, 257)}
_LENGTHS = [b"$%d" % size for size in range(_MOST_BYTES + 1)]
_MARKS = (b"*", b"$")
_length_of = _LENGTHS.__getitem__


class _Begun:
    """An array of which not all words have come.

    Attributes:
        missing: how many words have not come.
        spans: where those that have come begin and end, counted from where the array begins.
        size: how many bytes they have together.
        end: up to where the array was looked at.
    """

    __slots__ = ("end", "missing", "size", "spans")

    def __init__(self, missing: int, end: int) -> None:
        self.missing, self.end = missing, end
        self.spans: list[tuple[int, int]] = []
        self.size = 0


class RespFramer(BufferedFramer[list[bytes]]):
    """Cuts requests; each is the list of its words, as they came, and has at least one.

        framer = RespFramer()
        for words in framer.feed(connection.read()):
            command, *arguments = words

    Empty lines and arrays are left out, as Redis does. After an error the stream is lost.

    Args:
        max_bytes: how many bytes the words of a request may have together.
        max_words: how many words it may have.
    """

    __slots__ = ("_ahead", "_begun", "_max", "_max_words", "_searched")

    def __init__(self, max_bytes: int = 1_048_576, max_words: int = 1024) -> None:
        super().__init__()
        self._max, self._max_words = max_bytes, max_words
        self._ahead = _MOST_BYTES  # how much the next cut looks at
        self._begun: _Begun | None = None
        self._searched = 0  # how many bytes of a line that has no end yet

    def cut(self, data: bytes = b"") -> list[list[bytes]]:
        """Take in `data`; return the next whole requests, none if none is whole.

        It costs less than `feed` for many requests. About 2 KiB are cut at once: call it until it
        returns an empty list.

        Raises:
            FrameTooLongError, FrameSyntaxError: the next request is none; the stream is lost.
        """
        if self._data or len(data) > self._ahead:
            self._drop()
            self._data += data
            data = b"" if self._begun else bytes(self._data[: self._ahead])
            requests, end = _cut_whole(data, self._max, self._max_words)
            self._at = end
        else:
            requests, end = _cut_whole(data, self._max, self._max_words)
            if end == len(data):
                return requests
            self._data += data[end:]
        if requests:
            self._searched = 0
            self._ahead = min(2 * self._ahead, _MOST_BYTES)
        elif (found := self._next()) is not None:
            requests, self._at = [found[0]], found[1]
            is_odd = self._at <= len(data)
            self._ahead = _FEWEST_BYTES if is_odd else min(2 * self._ahead, _MOST_BYTES)
        self._drop()
        return requests

    def take(self, limit: int | None = None) -> bytes:
        """Take up to `limit` bytes (None: all) of what was fed and not handed out."""
        self._begun, self._searched = None, 0
        return super().take(limit)

    def _next(self) -> tuple[list[bytes], int] | None:
        """Return the next request, and where it ends."""
        while self._begun is None:
            line, end = self._line(self._at, self._searched)
            if line is None:
                self._searched = self.waiting
                return None
            self._searched = 0
            if line[:1] == b"*":
                count = self._number(line, self._max_words)
                if count > 0:
                    self._begun = _Begun(count, end - self._at)
                    break
            elif words := line.split():
                return words, end
            self._at = end  # it is empty
        return self._array(self._begun)

    def _array(self, begun: _Begun) -> tuple[list[bytes], int] | None:
        """Return the words of an array when all have come, and where it ends."""
        at, data = self._at, self._data
        while begun.missing:
            line, start = self._line(at + begun.end)
            if line is None:
                return None
            if line[:1] != b"$":
                raise FrameSyntaxError("each word of an array begins with $ and its length")
            size = self._number(line, self._max - begun.size)
            if size < 0:
                raise FrameSyntaxError("a word of a request has a length from 0 on")
            end = start + size
            if len(data) < end + 2:
                return None
            if data[end : end + 2] != b"\r\n":
                raise FrameSyntaxError("a word is longer than its length says")
            begun.spans.append((start - at, end - at))
            begun.missing -= 1
            begun.size += size
            begun.end = end + 2 - at
        self._begun = None
        return [bytes(data[at + one : at + two]) for one, two in begun.spans], at + begun.end

    def _line(self, start: int, searched: int = 0) -> tuple[bytes | None, int]:
        """Return the line that begins at `start`, or None, and where the next one does.

        Args:
            start: where it begins.
            searched: how many of its bytes are known to hold no end.
        """
        is_number = self._data[start : start + 1] in (bytearray(b"*"), bytearray(b"$"))
        limit = _MOST_DIGITS if is_number else self._max
        end = self._data.find(b"\n", start + searched, start + limit + 2)
        if end >= 0:
            return bytes(self._data[start:end]).removesuffix(b"\r"), end + 1
        if len(self._data) - start > limit + 1:
            raise FrameTooLongError(limit)
        return None, start

    def _number(self, line: bytes, limit: int) -> int:
        """Return the number behind the first byte of a line; -1 stands for nothing."""
        digits = line[1:]
        if digits == b"-1":
            return -1
        if not digits.isdigit() or (digits[:1] == b"0" and len(digits) > 1):
            raise FrameSyntaxError("an array and each of its words begin with a number")
        if int(digits) > limit:
            raise FrameTooLongError(limit)
        return int(digits)


def _cut_whole(data: bytes, max_bytes: int, max_words: int) -> tuple[list[list[bytes]], int]:
    """Cut the whole requests with which `data` begins, up to the first that is odd or unfinished.

    What is between the ends of lines is compared with what the lengths say: so a word that holds an
    end of line is found, and left for the slower way.

    Returns:
        The requests, and how many bytes of `data` they take.
    """
    requests: list[list[bytes]] = []
    pieces = data.split(b"\r\n")
    at, last = 0, len(pieces) - 1
    while at < last:
        count = _COUNTS.get(pieces[at])
        if count is None:
            piece = pieces[at]
            if piece[:1] in _MARKS or b"\n" in piece or len(piece) > max_bytes:
                break
            if words := piece.split():
                requests.append(words)
            at += 1
            continue
        stop = at + 1 + 2 * count
        if stop > last or count > max_words:
            break
        words = pieces[at + 2 : stop : 2]
        sizes = list(map(len, words))
        if pieces[at + 1 : stop : 2] != list(map(_length_of, sizes)) or sum(sizes) > max_bytes:
            break
        requests.append(words)
        at = stop
    return requests, sum(map(len, pieces[:at])) + 2 * at
