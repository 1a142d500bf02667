"""What a ClientHello (RFC 8446, 4.1.2) asks for, which OpenSSL does not tell a server."""

from __future__ import annotations

from collections.abc import Iterator

_RECORD_HEADER, _MESSAGE_HEADER = 5, 4
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_SERVER_NAME, _ALPN = 0, 16  # RFC 6066, 3 and RFC 7301, 3.1
_NAME_START = 5  # after the length of a list, a kind, and the length of the name


class ClientHellos:
    """The ClientHellos of a handshake: one, and another one if the server asks for it.

    What is not well formed is left to OpenSSL, which refuses it.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._needed = _RECORD_HEADER
        self._found: list[dict[int, bytes]] = []

    def feed(self, data: bytes) -> None:
        """Take what the client has sent next."""
        self._data += data
        if len(self._data) >= self._needed:  # else no message has become whole
            messages = _Bytes(_handshake_of(self._data))
            self._found = list(_extensions_of(messages))
            self._needed = len(self._data) + max(1, -messages.left)

    @property
    def offer_protocols(self) -> bool:
        """Whether the client has named protocols (ALPN)."""
        return any(_ALPN in each for each in self._found)

    @property
    def name_no_host(self) -> bool:
        """Whether the client has asked for a server whose name is none: it has other than ASCII."""
        names = (each.get(_SERVER_NAME, b"")[_NAME_START:] for each in self._found)
        return not all(name.isascii() for name in names)


def _handshake_of(data: bytes | bytearray) -> bytes:
    """Return what is in the records of the handshake, also in one that is not whole."""
    found, start = bytearray(), 0
    while start + _RECORD_HEADER <= len(data):
        end = start + _RECORD_HEADER + int.from_bytes(data[start + 3 : start + 5], "big")
        if data[start] == _HANDSHAKE:
            found += data[start + _RECORD_HEADER : end]
        start = end
    return bytes(found)


def _extensions_of(messages: _Bytes) -> Iterator[dict[int, bytes]]:
    """Yield the extensions of each ClientHello that is whole."""
    while messages.left >= _MESSAGE_HEADER:
        kind = messages.number(1)
        hello = _Bytes(messages.take(3))
        if messages.left < 0:
            return
        if kind == _CLIENT_HELLO:
            hello.skip(2 + 32)  # version, random
            hello.take(1)  # session id
            hello.take(2)  # cipher suites
            hello.take(1)  # compression methods
            extensions, found = _Bytes(hello.take(2)), {}
            while extensions.left > 0:
                number = extensions.number(2)
                found[number] = extensions.take(2)
            yield found


class _Bytes:
    """Reads numbers and vectors; what is missing is empty."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        """How many bytes are left; less than 0 if so many are missing."""
        return len(self._data) - self._at

    def skip(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        return self._data[start : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.skip(size), "big")

    def take(self, size: int) -> bytes:
        """Return a vector after its length, which has `size` bytes."""
        return self.skip(self.number(size))
