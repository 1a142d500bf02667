"""Messages that say beforehand how long they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from host.plugins.framing.base import FrameSyntaxError, FrameTooLongError
from host.plugins.framing.buffered import BufferedFramer


class LengthFramer(BufferedFramer[bytes]):
    """Cuts messages that begin with their length, big-endian.

    Args:
        size: how many bytes the length takes.
        max_bytes: the longest message, without its length.
    """

    __slots__ = ("_max", "_size")

    def __init__(self, size: Literal[1, 2, 4] = 4, max_bytes: int = 1_048_576) -> None:
        super().__init__()
        self._max, self._size = max_bytes, size

    def frame(self, message: bytes) -> bytes:
        """Return `message` with its length in front.

        Raises:
            FrameTooLongError: it is longer than the limit, or than the length can say.
        """
        limit = min(self._max, 256**self._size - 1)
        if len(message) > limit:
            raise FrameTooLongError(limit)
        return len(message).to_bytes(self._size, "big") + message

    def _next(self) -> tuple[bytes, int] | None:
        start = self._at + self._size
        if len(self._data) < start:
            return None
        length = int.from_bytes(self._data[self._at : start], "big")
        if length > self._max:
            raise FrameTooLongError(self._max)
        end = start + length
        return None if len(self._data) < end else (bytes(self._data[start:end]), end)


class NetstringFramer(BufferedFramer[bytes]):
    """Cuts netstrings: `5:hello,` (D. J. Bernstein, "Netstrings", 1997).

    Args:
        max_bytes: the longest message, without its framing.
    """

    __slots__ = ("_max",)

    def __init__(self, max_bytes: int = 1_048_576) -> None:
        super().__init__()
        self._max = max_bytes

    def frame(self, message: bytes) -> bytes:
        """Return `message` as a netstring.

        Raises:
            FrameTooLongError: it is longer than the limit.
        """
        if len(message) > self._max:
            raise FrameTooLongError(self._max)
        return b"%d:%b," % (len(message), message)

    def _next(self) -> tuple[bytes, int] | None:
        longest = len(str(self._max)) + 1
        colon = self._data.find(b":", self._at, self._at + longest)
        digits = self._data[self._at : colon if colon >= 0 else self._at + longest]
        if (digits and not digits.isdigit()) or (digits[:1] == b"0" and len(digits) > 1):
            raise FrameSyntaxError("a netstring begins with its length in decimal digits")
        if colon < 0:
            if len(digits) == longest:
                raise FrameTooLongError(self._max)
            return None
        if not digits:
            raise FrameSyntaxError("a netstring begins with its length in decimal digits")
        if int(digits) > self._max:
            raise FrameTooLongError(self._max)
        start, end = colon + 1, colon + 1 + int(digits)
        if len(self._data) <= end:
            return None
        if self._data[end] != 0x2C:
            raise FrameSyntaxError("a netstring ends in a comma")
        return bytes(self._data[start:end]), end + 1


class VarintFramer(BufferedFramer[bytes]):
    """Cuts messages whose length is a number of 7 bits a byte, the lowest first (LEB128).

    Of each byte the eighth bit tells whether another one follows: Protocol Buffers write messages
    one after the other like this, and MQTT packets begin with a byte of their own, and then the
    length ("Remaining Length", MQTT 3.1.1, 2.2.3).

        framer = VarintFramer(before=1, longest=4)  # MQTT
        for packet in framer.feed(connection.read()):
            kind, body = packet[0] >> 4, packet[1:]

    Args:
        before: how many bytes of a message come before its length; they do not count for it.
        longest: how many bytes a length takes at most.
        max_bytes: the longest message, without its length.
    """

    __slots__ = ("_before", "_longest", "_max")

    def __init__(self, before: int = 0, longest: int = 5, max_bytes: int = 1_048_576) -> None:
        super().__init__()
        self._before, self._longest, self._max = before, longest, max_bytes

    def frame(self, message: bytes) -> bytes:
        """Return `message` with its length in its place.

        Raises:
            FrameTooLongError: it is longer than the limit, or than the length can say.
            FrameSyntaxError: it is shorter than what comes before its length.
        """
        before = self._before
        if len(message) < before:
            raise FrameSyntaxError(f"a message has {before} bytes before its length")
        limit = min(self._max, before + 2 ** (7 * self._longest) - 1)
        if len(message) > limit:
            raise FrameTooLongError(limit)
        return message[:before] + encode_varint(len(message) - before) + message[before:]

    def _next(self) -> tuple[bytes, int] | None:
        data, at = self._data, self._at
        start = at + self._before
        have = len(data)
        if start < have and (length := data[start]) < 0x80:  # as in most messages, or else two:
            body = start + 1
        elif start + 1 < have and 0 < data[start + 1] < 0x80 and self._longest > 1:
            length, body = data[start] & 0x7F | data[start + 1] << 7, start + 2
        elif (found := self._long_length(start)) is not None:
            length, body = found
        else:
            return None
        if self._before + length > self._max:
            raise FrameTooLongError(self._max)
        end = body + length
        if have < end:
            return None
        return b"".join((data[at:start], data[body:end])), end

    def _long_length(self, start: int) -> tuple[int, int] | None:
        """Return the length that begins at `start`, and where it ends; None until it is whole."""
        data, length = self._data, 0
        last = start + self._longest - 1
        for place in range(start, min(last + 1, len(data))):
            byte = data[place]
            length |= (byte & 0x7F) << 7 * (place - start)
            if byte < 0x80:
                if place > start and not byte:
                    raise FrameSyntaxError("a length must not have more bytes than it needs")
                return length, place + 1
            if place == last:
                raise FrameSyntaxError(f"a length has {self._longest} bytes at most")
        return None


def encode_varint(number: int) -> bytes:
    """Return a number as LEB128.

    Raises:
        ValueError: it is below 0.
    """
    if number < 0:
        raise ValueError(f"only numbers from 0 on can be written like this, not {number}")
    if number < 0x4000:  # as most are
        return bytes((number & 0x7F | 0x80, number >> 7)) if number >= 0x80 else bytes((number,))
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


class HeaderFramer(BufferedFramer[bytes]):
    """Cuts messages that begin with a header of a fixed size, which tells how long the rest is.

        HEADER = struct.Struct(">BBH")
        framer = HeaderFramer(HEADER.size, lambda header: HEADER.unpack(header)[2])
        for message in framer.feed(connection.read()):
            kind, flags, length = HEADER.unpack_from(message)

    Args:
        size: how many bytes the header has, at least 1.
        length: returns how many bytes follow, given a header. What it raises comes out of `feed`;
            ValueError is the right one for a header that makes no sense.
        max_bytes: the longest message, with its header.
    """

    __slots__ = ("_length", "_max", "_size")

    def __init__(
        self, size: int, length: Callable[[bytes], int], max_bytes: int = 1_048_576
    ) -> None:
        if size < 1:
            raise ValueError(f"a header has at least 1 byte, not {size}")
        super().__init__()
        self._size, self._length, self._max = size, length, max_bytes

    def _next(self) -> tuple[bytes, int] | None:
        start = self._at + self._size
        if len(self._data) < start:
            return None
        length = self._length(bytes(self._data[self._at : start]))
        if length < 0:
            raise FrameSyntaxError(f"the header says that {length} bytes follow")
        end = start + length
        if end - self._at > self._max:
            raise FrameTooLongError(self._max)
        return None if len(self._data) < end else (bytes(self._data[self._at : end]), end)
