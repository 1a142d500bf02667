"""What a client has sent: command lines, and the values that follow some of them."""

from __future__ import annotations

from prefork_keyvalue.replies import BAD_CHUNK, RefusedError

MAX_COMMAND_BYTES = 16_384
"""Longest line of any command but `get` and `gets`: as much as memcached reads at once."""
MAX_UNFINISHED_BYTES = 2048
"""How much of such a line may come without its end: more is no command (memcached's number)."""
_CR, _LF = ord("\r"), ord("\n")


class TooLongError(Exception):
    """A line is longer than any command; nothing says where the next one begins.

    Attributes:
        is_get: whether it is a `get` of too many keys, and no command that memcached would know.
    """

    def __init__(self, is_get: bool) -> None:
        super().__init__(is_get)
        self.is_get = is_get


class Requests:
    """Cuts what a client sends into lines and values; what has not come whole waits.

    The command of a line decides whether a value follows, and so asks for it. If that has not come
    yet, the line is put back, and is returned again when it has.

    Args:
        max_line_bytes: the longest line of a `get`, which has any number of keys.
    """

    __slots__ = ("_at", "_begun", "_data", "_line_at", "_max", "_missing", "_skipping")

    def __init__(self, max_line_bytes: int) -> None:
        self._max = max_line_bytes
        self._data = b""  # requests; empty if none is whole
        self._at = 0  # what is before it has been taken
        self._line_at = 0  # where the last line began
        self._begun = bytearray()  # the beginning of a request that is not whole
        self._missing = 0  # how many bytes it has at least; 0: as many as up to the end of a line
        self._skipping = 0  # how many of the next bytes belong to no request

    def feed(self, data: bytes) -> None:
        """Take in what has arrived."""
        if self._data or self._begun or self._skipping:
            data = self._with_what_waits(data)
        self._data, self._at = data, 0

    def next_line(self) -> bytes | None:
        """Return the next line without its end, or None as long as it has not come.

        Raises:
            TooLongError: it is longer than any.
        """
        data, start = self._data, self._at
        end = data.find(b"\n", start)
        if end < 0:
            if data and start == len(data):
                self._data = b""
            else:
                self._wait(start)
            return None
        self._line_at, self._at = start, end + 1
        if end - start > MAX_COMMAND_BYTES:
            self._check_length(data[start:end], MAX_COMMAND_BYTES)
        if end > start and data[end - 1] == _CR:
            end -= 1
        return data[start:end]

    def take_value(self, size: int) -> bytes | None:
        r"""Return the value of `size` bytes that follows the last line, or None if it has not come.

        Raises:
            RefusedError: it does not end in `\r\n`; it has been taken.
        """
        data, start = self._data, self._at
        end = start + size
        after = end + 2
        if after > len(data):
            self._missing = after - self._line_at
            self._wait(self._line_at)
            return None
        self._at = after
        if data[end:after] != b"\r\n":
            raise RefusedError(BAD_CHUNK)
        return data[start:end]

    def skip(self, count: int) -> None:
        """Leave out the next `count` bytes, whether they have come or not."""
        self._at += count
        if self._at > len(self._data):
            self._skipping = self._at - len(self._data)
            self._data = b""

    def _with_what_waits(self, data: bytes) -> bytes:
        """Return `data` behind what waits for it; nothing as long as that is no whole request."""
        if self._skipping:
            skipped = min(self._skipping, len(data))
            self._skipping -= skipped
            return data[skipped:]
        if self._data:
            return self._data[self._at :] + data
        begun = self._begun
        begun += data
        if len(begun) < self._missing or not (self._missing or _LF in data):
            return b""
        self._begun, self._missing = bytearray(), 0
        return bytes(begun)

    def _wait(self, start: int) -> None:
        """Keep the request that begins at `start` until it is whole."""
        self._begun += self._data[start:]
        self._data, self._at = b"", 0
        if not self._missing and len(self._begun) > MAX_UNFINISHED_BYTES:
            self._check_length(self._begun, MAX_UNFINISHED_BYTES)

    def _check_length(self, line: bytes | bytearray, limit: int) -> None:
        is_get = bytes(line[:128]).lstrip(b" ").startswith((b"get ", b"gets "))
        if len(line) > (self._max if is_get else limit):
            raise TooLongError(is_get)
