"""The fields within a frame of a binary protocol."""

from __future__ import annotations

from host.plugins.framing.base import FrameSyntaxError


class FieldReader:
    """Reads the fields of a frame one after the other.

        fields = FieldReader(frame)
        kind, name, payload = fields.number(1), fields.text(2), fields.rest()

    Args:
        frame: the frame.
        at: where the first field begins.

    Raises:
        FrameSyntaxError: by its methods, if the frame ends before the field does.
    """

    __slots__ = ("_at", "_frame")

    def __init__(self, frame: bytes, at: int = 0) -> None:
        self._frame, self._at = frame, at

    def number(self, size: int) -> int:
        """Return a number of `size` bytes, big-endian."""
        return int.from_bytes(self.take(size), "big")

    def take(self, count: int) -> bytes:
        """Return `count` bytes."""
        start, self._at = self._at, self._at + count
        if self._at > len(self._frame):
            raise FrameSyntaxError("a frame ends within a field")
        return self._frame[start : self._at]

    def data(self, size: int) -> bytes:
        """Return bytes that have their number in front, as a number of `size` bytes."""
        return self.take(self.number(size))

    def text(self, size: int) -> str:
        """Return such bytes as text.

        Raises:
            FrameSyntaxError: they are not UTF-8, besides.
        """
        try:
            return self.data(size).decode()
        except UnicodeDecodeError as error:
            raise FrameSyntaxError("a text is not in UTF-8") from error

    def rest(self) -> bytes:
        """Return all that follows, and leave it there."""
        return self._frame[self._at :]

    def more(self) -> bool:
        """Tell whether anything follows."""
        return self._at < len(self._frame)

    def end(self) -> None:
        """See that nothing follows.

        Raises:
            FrameSyntaxError: something does.
        """
        if self.more():
            raise FrameSyntaxError("a frame has more bytes than fields")
