"""What all framers have in common: two errors, and one interface."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class FrameTooLongError(ValueError):
    """A message is longer than the limit.

    Args:
        limit: the limit in bytes.
        text: what to say instead of how many bytes are too many, where a protocol has words for it.

    Attributes:
        limit: the limit in bytes.
    """

    def __init__(self, limit: int, text: str = "") -> None:
        self.limit = limit
        super().__init__(text or f"message longer than {limit} bytes")


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
