"""What framers have in common that find one message after the other in a buffer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

Message = TypeVar("Message")


class BufferedFramer(Generic[Message]):
    """Keeps what was fed, and hands out the messages that the subclass finds in it."""

    __slots__ = ("_at", "_data")

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0  # what is before it has been handed out

    @property
    def waiting(self) -> int:
        """How many bytes were fed and not handed out."""
        return len(self._data) - self._at

    def feed(self, data: bytes) -> Iterator[Message]:
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

    def _hand_out(self) -> Iterator[Message]:
        try:
            while (found := self._next()) is not None:
                message, self._at = found
                yield message
        finally:
            self._drop()

    def _drop(self) -> None:
        del self._data[: self._at]
        self._at = 0

    def _next(self) -> tuple[Message, int] | None:
        """Return the next message and where its frame ends, or None as long as it is not whole."""
        raise NotImplementedError
