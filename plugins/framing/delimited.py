"""Messages that end in a delimiter of one or more bytes."""

from __future__ import annotations

from host.plugins.framing.base import FrameSyntaxError, FrameTooLongError
from host.plugins.framing.buffered import BufferedFramer


class DelimiterFramer(BufferedFramer[bytes]):
    r"""Cuts messages that end in `delimiter`; they are handed out without it.

    For lines `LineFramer` does more: it takes both ends of lines, and can skip a line that is too
    long.

    Args:
        delimiter: for example `b"\r\n.\r\n"`, which ends the text of a mail (RFC 5321, 4.1.1.4).
        max_bytes: the longest message, without its end.

    Raises:
        ValueError: the delimiter is empty.
    """

    __slots__ = ("_delimiter", "_max", "_searched")

    def __init__(self, delimiter: bytes, max_bytes: int = 1_048_576) -> None:
        if not delimiter:
            raise ValueError("the delimiter must not be empty")
        super().__init__()
        self._delimiter, self._max = delimiter, max_bytes
        self._searched = 0  # how many bytes from the beginning of a message on

    def frame(self, message: bytes) -> bytes:
        """Return `message` with its end.

        Raises:
            FrameTooLongError: it is longer than the limit.
            FrameSyntaxError: the peer would find the end too early.
        """
        if len(message) > self._max:
            raise FrameTooLongError(self._max)
        framed = message + self._delimiter
        if framed.find(self._delimiter) != len(message):
            raise FrameSyntaxError("the message holds what ends it")
        return framed

    def take(self, limit: int | None = None) -> bytes:
        """Take up to `limit` bytes (None: all) of what was fed and not handed out."""
        taken = super().take(limit)
        self._searched = max(0, self._searched - len(taken))
        return taken

    def _next(self) -> tuple[bytes, int] | None:
        size, at = len(self._delimiter), self._at
        # The delimiter may have begun in what was searched before.
        start = at + max(0, self._searched - size + 1)
        end = self._data.find(self._delimiter, start, at + self._max + size)
        if end >= 0:
            self._searched = 0
            return bytes(self._data[at:end]), end + size
        self._searched = self.waiting
        if self._searched >= self._max + size:
            raise FrameTooLongError(self._max)
        return None
