"""What a ClientHello (RFC 8446, 4.1.2) asks for: OpenSSL tells a server only what it has chosen."""

from __future__ import annotations

_RECORD_HEADER = 5
_HANDSHAKE_RECORD, _APPLICATION_DATA = 22, 23  # RFC 8446, 5.1
_CLIENT_HELLO = 1
_MESSAGE_HEADER = 4
_MOST_HELLOS = 2  # the second one is asked for: RFC 8446, 4.1.4
_SERVER_NAME = 0  # RFC 6066, 3
_ALPN = 16  # RFC 7301, 3.1


class ClientHellos:
    """Reads along what a client sends in a handshake, until that is something else or encrypted.

    There are two of them if the server has asked for another one. OpenSSL acts on one when it is
    whole, so what is fed here first is known before. Nothing is raised: OpenSSL refuses what is
    malformed. Only the part of a message that has come so far is kept.

    Attributes:
        offers_protocols: whether the client has named protocols (ALPN).
        name_is_ascii: whether the host name that it asks for has no bytes that no name can have;
            CPython prints a traceback for them.
    """

    def __init__(self) -> None:
        self.offers_protocols = False
        self.name_is_ascii = True
        self._records, self._messages = bytearray(), bytearray()
        self._count = 0
        self._is_over = False

    def feed(self, data: bytes) -> None:
        """Take the bytes of the client that follow those before."""
        if self._is_over:
            return
        self._records += data
        start = 0
        while start + _RECORD_HEADER <= len(self._records):
            size = int.from_bytes(self._records[start + 3 : start + 5], "big")
            end = start + _RECORD_HEADER + size
            if end > len(self._records):
                break
            if self._records[start] == _HANDSHAKE_RECORD:
                self._messages += self._records[start + _RECORD_HEADER : end]
            elif self._records[start] == _APPLICATION_DATA:
                self._is_over = True
            start = end
        del self._records[:start]
        self._look_at_messages()
        if self._is_over:
            self._records, self._messages = bytearray(), bytearray()

    def _look_at_messages(self) -> None:
        """Look at the messages that are whole."""
        while len(self._messages) >= _MESSAGE_HEADER:
            if self._messages[0] != _CLIENT_HELLO:
                self._is_over = True
                return
            end = _MESSAGE_HEADER + int.from_bytes(self._messages[1:_MESSAGE_HEADER], "big")
            if end > len(self._messages):
                return
            self._look_at(bytes(self._messages[_MESSAGE_HEADER:end]))
            del self._messages[:end]
            self._count += 1
            if self._count == _MOST_HELLOS:
                self._is_over = True
                return

    def _look_at(self, body: bytes) -> None:
        hello = _Bytes(body)
        hello.skip(2 + 32)  # version, random
        hello.take(1)  # session id
        hello.take(2)  # cipher suites
        hello.take(1)  # compression methods
        extensions = _Bytes(hello.take(2))
        while extensions.left:
            kind = extensions.number(2)
            content = extensions.take(2)
            if kind == _ALPN:
                self.offers_protocols = True
            elif kind == _SERVER_NAME:
                names = _Bytes(content)
                names.skip(2 + 1)  # size of the list, kind of the first name: OpenSSL takes no more
                self.name_is_ascii = self.name_is_ascii and names.take(2).isascii()


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
