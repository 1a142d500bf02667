"""Where the records of a TLS stream begin, which OpenSSL does not say."""

from __future__ import annotations

_HEADER = 5


class RecordBoundaries:
    """Follows what a peer sends, record by record (RFC 8446, 5.1).

    What makes no sense is followed, too: OpenSSL refuses it when it gets there.

    Attributes:
        inside: whether a record has begun that is not whole yet.
    """

    __slots__ = ("_header", "_rest", "inside")

    def __init__(self) -> None:
        self._header = b""  # a part of one
        self._rest = 0  # bytes until the next header
        self.inside = False

    def follow(self, data: bytes, most: int) -> tuple[int, int]:
        """Follow the bytes after those before, until more than `most` records would begin in them.

        Returns:
            How many bytes of `data` were followed, and how many records begin there.
        """
        stream = self._header + data
        at, count, end = self._rest, 0, len(stream)
        last = end - _HEADER
        while at <= last and count < most:
            at += _HEADER + stream[at + 3] * 256 + stream[at + 4]
            count += 1
        if at <= last:
            size = at - len(self._header)
            self._header, self._rest, self.inside = b"", 0, False
            return size, count
        self._header, self.inside = stream[at:], at != end
        self._rest = at - end if at > end else 0
        return len(data), count
