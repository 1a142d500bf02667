"""What a ClientHello (RFC 8446, 4.1.2) asks for: OpenSSL tells a server only what it has chosen."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress

_RECORD_HEADER = 5
_HANDSHAKE_RECORD, _APPLICATION_DATA = 22, 23  # RFC 8446, 5.1
_CLIENT_HELLO = 1
_MESSAGE_HEADER = 4
_ENCRYPTED = b"\x14\x03\x03\x00\x01\x01\x17"
"""What encrypted records begin with, after a message that means nothing (RFC 8446, D.4)."""
_HELLO = struct.Struct(">B2xHBBH")
"""What a record begins with that a ClientHello is in: its kind and its size, the kind of the
message and its size, of which the first of three bytes is by itself."""
_EXTENSION = struct.Struct(">HH")
"""What an extension begins with: its kind and its size."""
_MOST_HELLOS = 2  # the second one is asked for: RFC 8446, 4.1.4
_SERVER_NAME = 0  # RFC 6066, 3
_ALPN = 16  # RFC 7301, 3.1


class ClientHellos:
    """Reads along what a client sends in a handshake, until that is something else or encrypted.

    There are two of them if the server has asked for another one. OpenSSL acts on one when it is
    whole, so what is fed here first is known before. Nothing is raised: OpenSSL refuses what is
    malformed. Only the part of a message that has come so far is kept.

    Args:
        wants_protocols: whether somebody asks for the protocols.

    Attributes:
        protocols: those that the client offers (ALPN); none if it does not say.
        name_is_ascii: whether the host name that it asks for has no bytes that no name can have;
            CPython prints a traceback for them.
    """

    def __init__(self, *, wants_protocols: bool = True) -> None:
        self._wants_protocols = wants_protocols
        self.protocols: frozenset[bytes] = frozenset()
        self.name_is_ascii = True
        self._records, self._messages = bytearray(), bytearray()
        self._count = 0
        self._is_over = False

    def feed(self, data: bytes) -> None:
        """Take the bytes of the client that follow those before."""
        if self._is_over:
            return
        if self._records or self._messages or not self._feed_whole(data):
            self._feed_part(data)

    def _feed_whole(self, data: bytes) -> bool:
        """Take what nearly all clients send; return whether it is that.

        `_feed_part` finds the same. But OpenSSL has just used all caches of the processor, and each
        step of Python then costs five times as much: together a tenth of the handshake.
        """
        if len(data) < _HELLO.size:
            return False
        record, size, message, high, rest = _HELLO.unpack_from(data)
        if record == _HANDSHAKE_RECORD:
            is_whole = len(data) == size + _RECORD_HEADER == rest + _HELLO.size
            if message != _CLIENT_HELLO or high or not is_whole:
                return False
            self._look_at(data, _HELLO.size)
            self._count += 1
            self._is_over = self._count == _MOST_HELLOS
        elif record == _APPLICATION_DATA or data.startswith(_ENCRYPTED):
            self._is_over = True
        else:
            return False
        return True

    def _feed_part(self, data: bytes) -> None:
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
            self._look_at(bytes(self._messages[:end]), _MESSAGE_HEADER)
            del self._messages[:end]
            self._count += 1
            if self._count == _MOST_HELLOS:
                self._is_over = True
                return

    def _look_at(self, hello: bytes, at: int) -> None:
        """Look at the hello whose content begins at `at`, and which is the end of these bytes."""
        with suppress(IndexError, struct.error):  # it is cut off
            at += 2 + 32  # version, random
            at += 1 + hello[at]  # session id
            at += 2 + _number(hello, at)  # cipher suites
            at += 1 + hello[at]  # compression methods
            self._look_at_extensions(hello[at + 2 : at + 2 + _number(hello, at)])

    def _look_at_extensions(self, extensions: bytes) -> None:
        at, end, unpack = 0, len(extensions), _EXTENSION.unpack_from
        while at < end:
            kind, size = unpack(extensions, at)
            at += 4
            if kind == _ALPN:
                if self._wants_protocols:
                    self.protocols = frozenset(_offered(extensions[at : at + size]))
            elif kind == _SERVER_NAME:
                start = at + 2 + 1  # size of the list, kind of the first name, which is all
                name = extensions[start + 2 : start + 2 + _number(extensions, start)]
                self.name_is_ascii = self.name_is_ascii and name.isascii()
                if not self._wants_protocols:  # there is one name only (RFC 8446, 4.2)
                    return
            at += size


def _number(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]


def _offered(content: bytes) -> Iterator[bytes]:
    """Return the protocols in an extension of ALPN."""
    at, end = 2, min(len(content), 2 + _number(content, 0))
    while at < end:
        start = at + 1
        at = start + content[at]
        yield content[start:at]
