r"""Requests as Redis clients send them: arrays of words with their lengths, or lines of words.

`*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n` is the request `ECHO hi`, and so is the line `ECHO hi\r\n` (the
protocol specification of Redis, "Sending commands to a Redis server" and "Inline commands"). A word
of a line may be in quotes, as in `SET greeting "hello world"`.
"""

from __future__ import annotations

import re

from host.plugins.framing.base import FrameSyntaxError, FrameTooLongError
from host.plugins.framing.buffered import BufferedFramer

_MOST_BYTES, _FEWEST_BYTES = 2048, 64
"""In how many bytes whole requests are looked for at a time: in more and more, as long as there are
any; in few again after something odd, so that it is not looked at many times."""
_MOST_DIGITS = 10
_END = b"\r\n"
_COUNTS = {b"*%d" % count: count for count in range(1, 257)}
_ONES = {mark: 2 + 2 * count for mark, count in _COUNTS.items()}
"""In how many pieces the ends of lines cut a read that is one array by itself, as most often."""
_LENGTHS = [b"$%d" % size for size in range(_MOST_BYTES + 1)]
_MARKS = (b"*", b"$")
_length_of = _LENGTHS.__getitem__
_BAD_COUNT, _BAD_LENGTH = "invalid multibulk length", "invalid bulk length"
_TOO_LONG = {b"*": _BAD_COUNT, b"$": _BAD_LENGTH}
_WORD = re.compile(
    rb"""
    ([^\s"']*)                                 # without quotes, then perhaps the rest in some:
    (?: "((?:[^"\\]|\\.)*)"                    # double ones, in which \ escapes something,
      | '((?:[^'\\]|\\'|\\(?!'))*)' )?          # or single ones, in which it escapes only one
    (?:\s+|\Z)                                # nothing else may follow
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


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

    Empty lines and arrays are left out, as Redis does. After an error the stream is lost; its text
    is in the words of Redis.

    Args:
        max_bytes: how many bytes the words of a request may have together.
        max_words: how many words it may have.
    """

    __slots__ = ("_ahead", "_begun", "_max", "_max_words", "_most", "_ones", "_searched")

    def __init__(self, max_bytes: int = 1_048_576, max_words: int = 1024) -> None:
        super().__init__()
        self._max, self._max_words = max_bytes, max_words
        self._most = min(_MOST_BYTES, max_bytes)  # so that no request in it is too long
        self._ones = _ONES if max_words >= len(_COUNTS) else {}
        self._ahead = self._most  # how much the next cut looks at
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
            requests, self._at = _cut_whole(data, data.split(_END), self._max_words)
        else:
            pieces = data.split(_END)
            if len(pieces) == self._ones.get(pieces[0]):
                words = pieces[2::2]
                if pieces[1::2] == [*map(_length_of, map(len, words)), b""]:
                    return [words]
            requests, end = _cut_whole(data, pieces, self._max_words)
            if end == len(data):
                return requests
            self._data += data[end:]
        if requests:
            self._searched = 0
            self._ahead = min(2 * self._ahead, self._most)
        elif (found := self._next()) is not None:
            requests, self._at = [found[0]], found[1]
            is_odd = self._at <= len(data)
            self._ahead = min(_FEWEST_BYTES if is_odd else 2 * self._ahead, self._most)
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
                count = self._number(line, self._max_words, _BAD_COUNT)
                if count > 0:
                    self._begun = _Begun(count, end - self._at)
                    break
            elif words := _split_line(line):
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
                mark = line[:1].decode("latin-1")
                raise FrameSyntaxError(f"expected '$', got '{mark if mark.isprintable() else '?'}'")
            size = self._number(line, self._max - begun.size, _BAD_LENGTH)
            if size < 0:
                raise FrameSyntaxError(_BAD_LENGTH)
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
        mark = bytes(self._data[start : start + 1])
        limit = _MOST_DIGITS if mark in _MARKS else self._max
        end = self._data.find(b"\n", start + searched, start + limit + 2)
        if end >= 0:
            return bytes(self._data[start:end]).removesuffix(b"\r"), end + 1
        if len(self._data) - start > limit + 1:
            raise FrameTooLongError(limit, _TOO_LONG.get(mark, "too big inline request"))
        return None, start

    def _number(self, line: bytes, limit: int, error: str) -> int:
        """Return the number behind the first byte of a line; -1 stands for nothing.

        Args:
            line: the line.
            limit: the largest number.
            error: what to say if it is none.
        """
        digits = line[1:]
        if digits == b"-1":
            return -1
        if not digits.isdigit() or (digits[:1] == b"0" and len(digits) > 1):
            raise FrameSyntaxError(error)
        if int(digits) > limit:
            raise FrameTooLongError(limit, error)
        return int(digits)


def _cut_whole(data: bytes, pieces: list[bytes], max_words: int) -> tuple[list[list[bytes]], int]:
    """Cut the whole requests with which `data` begins, up to the first that is odd or unfinished.

    What is between the ends of lines is compared with what the lengths say: so a word that holds an
    end of line is found, and left for the slower way.

    Args:
        data: at most `_MOST_BYTES` bytes.
        pieces: what is between the ends of lines in it.
        max_words: how many words a request may have.

    Returns:
        The requests, and how many bytes of `data` they take.
    """
    last = len(pieces) - 1
    requests, at = _cut_alike(pieces, last, max_words)
    while at < last:
        count = _COUNTS.get(pieces[at])
        if count is None:
            piece = pieces[at]
            if piece[:1] in _MARKS or b"\n" in piece or b'"' in piece or b"'" in piece:
                break
            if words := piece.split():
                requests.append(words)
            at += 1
            continue
        stop = at + 1 + 2 * count
        if stop > last or count > max_words:
            break
        words = pieces[at + 2 : stop : 2]
        if pieces[at + 1 : stop : 2] != list(map(_length_of, map(len, words))):
            break
        requests.append(words)
        at = stop
    if at == last:
        return requests, len(data) - len(pieces[last])
    return requests, sum(map(len, pieces[:at])) + 2 * at


def _cut_alike(pieces: list[bytes], last: int, max_words: int) -> tuple[list[list[bytes]], int]:
    """Cut the arrays with which `pieces` begin, if all have as many words: at once, which is quick.

    Args:
        pieces: what is between the ends of lines.
        last: the number of the last piece, which has no end.
        max_words: how many words an array may have.

    Returns:
        The words of each array, nothing if one of them is odd; and how many pieces they take.
    """
    count = _COUNTS.get(pieces[0], 0)
    step = 1 + 2 * count
    if not count or step > last or count > max_words:
        return [], 0
    number = last // step
    stop = number * step
    if pieces[:stop:step].count(pieces[0]) < number:
        return [], 0
    flat = pieces[:stop]
    del flat[::step]
    words = flat[1::2]
    if flat[::2] != list(map(_length_of, map(len, words))):
        return [], 0
    return [words[at : at + count] for at in range(0, len(words), count)], stop


def _split_line(line: bytes) -> list[bytes]:
    """Return the words of a line, without their quotes.

    Raises:
        FrameSyntaxError: a quote has no end, or something follows its end.
    """
    if b'"' not in line and b"'" not in line:
        return line.split()
    words, at, line = [], 0, line.strip()
    while at < len(line):
        found = _WORD.match(line, at)
        if found is None:
            raise FrameSyntaxError("unbalanced quotes in request")
        plain, double, single = found.groups(b"")
        words.append(plain + _ESCAPE.sub(_unescape, double) + single.replace(b"\\'", b"'"))
        at = found.end()
    return words


def _unescape(found: re.Match[bytes]) -> bytes:
    """Return what is meant by a backslash and what follows it."""
    what = found[1]
    return bytes.fromhex(what[1:].decode()) if len(what) == 3 else _ESCAPED.get(what, what)
