"""What a ClientHello (RFC 8446, 4.1.2) offers: OpenSSL tells a server only what it has chosen."""

from __future__ import annotations

_RECORD_HEADER = 5
_ALPN = 16  # RFC 7301, 3.1


def offers_protocols(data: bytes) -> bool:
    """Tell whether a client has named protocols (ALPN).

    Args:
        data: the first bytes of the client, with a whole ClientHello, in one or several records,
            which OpenSSL has taken.
    """
    hello = _Bytes(_joined(data))
    hello.skip(4 + 2 + 32)  # type and length, version, random
    hello.take(1)  # session id
    hello.take(2)  # cipher suites
    hello.take(1)  # compression methods
    extensions = _Bytes(hello.take(2))
    while extensions.left:
        kind = extensions.number(2)
        extensions.take(2)
        if kind == _ALPN:
            return True
    return False


def _joined(data: bytes) -> bytes:
    """Return what is in the records."""
    found, start = bytearray(), 0
    while start + _RECORD_HEADER <= len(data):
        end = start + _RECORD_HEADER + int.from_bytes(data[start + 3 : start + 5], "big")
        found += data[start + _RECORD_HEADER : end]
        start = end
    return bytes(found)


class _Bytes:
    """Reads numbers and vectors; what is missing is empty."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> bool:
        return self._at < len(self._data)

    def skip(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        return self._data[start : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.skip(size), "big")

    def take(self, size: int) -> bytes:
        """Return a vector after its length, which has `size` bytes."""
        return self.skip(self.number(size))
