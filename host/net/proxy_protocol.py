"""The PROXY protocol, versions 1 and 2: a proxy tells first whose connection it hands on.

A parser without input and output. (HAProxy Technologies, "The PROXY protocol, versions 1 & 2".)
"""

from __future__ import annotations

import struct
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

from host.interfaces import ProxyHeader
from host.net.sockets import describe

MAX_BYTES = 16 + 4096
"""The longest header that is taken: the fixed part of version 2, and 4 KiB."""
_V1, _V2 = b"PROXY ", b"\r\n\r\n\x00\r\nQUIT\n"
_V1_MAX_BYTES = 107
"""With the end of the line ("The PROXY protocol", 2.1)."""
_FIXED = struct.Struct(">12sBBH")
_TLV = struct.Struct(">BH")
_CRC32C = 0x03
_INET, _INET6 = struct.Struct(">4s4sHH"), struct.Struct(">16s16sHH")
_UNIX = struct.Struct("108s108s")
_STREAM_INET, _STREAM_INET6, _STREAM_UNIX, _UNSPECIFIED = 0x11, 0x21, 0x31, 0x00


class ProxyHeaderError(ValueError):
    """What a proxy has sent is no header: its text says why."""


class Parsed(NamedTuple):
    """A whole header.

    Attributes:
        header: what it says.
        host, port: the client's address, None if the header names none.
        size: how many bytes it has; what follows is the client's.
    """

    header: ProxyHeader
    host: str | None
    port: int | None
    size: int


def parse(data: bytes, versions: frozenset[int], proxy: str) -> Parsed | None:
    """Return the header that `data` begins with; None if it is not whole yet.

    Args:
        data: all that has come so far.
        versions: which are allowed.
        proxy: the address of the proxy as text.

    Raises:
        ProxyHeaderError: it does not begin with a header of these versions; more will not help.
    """
    if 1 in versions and data[: len(_V1)] == _V1[: len(data)]:
        return _parse_v1(data, proxy)
    if 2 in versions and data[: len(_V2)] == _V2[: len(data)]:
        return _parse_v2(data, proxy)
    expected = " or ".join(f"v{version}" for version in sorted(versions))
    raise ProxyHeaderError(f"it begins with {data[:16]!r}, which is no header ({expected})")


def _parse_v1(data: bytes, proxy: str) -> Parsed | None:
    end = data.find(b"\r\n", 0, _V1_MAX_BYTES)
    if end < 0:
        if len(data) >= _V1_MAX_BYTES:
            raise ProxyHeaderError(f"a header v1 has {_V1_MAX_BYTES} bytes at most")
        return None
    words, size = data[:end].split(b" "), end + 2
    if words[1] == b"UNKNOWN":
        return Parsed(ProxyHeader(1, True, proxy), None, None, size)
    family = {b"TCP4": AF_INET, b"TCP6": AF_INET6}.get(words[1])
    if family is None or len(words) != 6:
        raise ProxyHeaderError(f"a header v1 is no {data[:end]!r}")
    source, destination = (
        (_v1_host(family, host), _v1_port(port))
        for host, port in ((words[2], words[4]), (words[3], words[5]))
    )
    header = ProxyHeader(1, False, proxy, describe(source), describe(destination))
    return Parsed(header, *source, size)


def _v1_host(family: int, text: bytes) -> str:
    try:
        return inet_ntop(family, inet_pton(family, text.decode("ascii")))
    except (OSError, ValueError):
        raise ProxyHeaderError(f"{text!r} is no address of that family") from None


def _v1_port(text: bytes) -> int:
    if not text.isdigit() or (text[0] == 0x30 and len(text) > 1) or len(text) > 5:
        raise ProxyHeaderError(f"{text!r} is no port")
    if int(text) > 65_535:
        raise ProxyHeaderError(f"{text!r} is no port")
    return int(text)


def _parse_v2(data: bytes, proxy: str) -> Parsed | None:
    if len(data) < _FIXED.size:
        return None
    _signature, command, family, length = _FIXED.unpack_from(data)
    if command >> 4 != 2 or command & 0xF > 1:
        raise ProxyHeaderError(f"0x{command:02x} is no version 2 with a command 0 or 1")
    if length > MAX_BYTES - _FIXED.size:
        raise ProxyHeaderError(f"{length} bytes are too many: {MAX_BYTES - _FIXED.size} are taken")
    size = _FIXED.size + length
    if len(data) < size:
        return None
    block = data[_FIXED.size : size]
    if command & 0xF == 0 or family == _UNSPECIFIED:  # the proxy's own, or it does not know whose
        return Parsed(ProxyHeader(2, True, proxy), None, None, size)
    source, destination, used = _v2_addresses(family, block)
    tlvs = _tlvs(block[used:])
    _check_crc(data[:size], tlvs)
    header = ProxyHeader(2, False, proxy, describe(source), describe(destination), tlvs)
    host, port = source if isinstance(source, tuple) else (None, None)
    return Parsed(header, host, port, size)


def _v2_addresses(family: int, block: bytes) -> tuple[object, object, int]:
    """Return source, destination, and how many bytes they take."""
    layout = {_STREAM_INET: _INET, _STREAM_INET6: _INET6, _STREAM_UNIX: _UNIX}.get(family)
    if layout is None:
        raise ProxyHeaderError(f"0x{family:02x} is no family with stream sockets")
    if len(block) < layout.size:
        raise ProxyHeaderError(f"{len(block)} bytes are too few for addresses of 0x{family:02x}")
    if layout is _UNIX:
        return "unix", "unix", layout.size
    number = AF_INET if layout is _INET else AF_INET6
    source, destination, source_port, destination_port = layout.unpack_from(block)
    return (
        (inet_ntop(number, source), source_port),
        (inet_ntop(number, destination), destination_port),
        layout.size,
    )


def _tlvs(data: bytes) -> tuple[tuple[int, bytes], ...]:
    """Return what follows the addresses: types and values."""
    found, at = [], 0
    while at < len(data):
        if at + _TLV.size > len(data):
            raise ProxyHeaderError("the header ends within a type and length")
        kind, length = _TLV.unpack_from(data, at)
        at += _TLV.size + length
        if at > len(data):
            raise ProxyHeaderError(f"a value of type 0x{kind:02x} goes beyond the header")
        found.append((kind, data[at - length : at]))
    return tuple(found)


def _check_crc(header: bytes, tlvs: tuple[tuple[int, bytes], ...]) -> None:
    """Compare the checksum, if there is one ("The PROXY protocol", 2.2.3)."""
    at = len(header)
    for kind, value in reversed(tlvs):
        at -= len(value)
        if kind == _CRC32C:
            if len(value) != 4:
                raise ProxyHeaderError("a checksum has 4 bytes")
            if crc32c(header[:at] + bytes(4) + header[at + 4 :]) != int.from_bytes(value, "big"):
                raise ProxyHeaderError("its checksum is wrong")
        at -= _TLV.size


def _crc_table() -> tuple[int, ...]:
    table = list(range(256))
    for _ in range(8):
        table = [number >> 1 ^ (0x82F63B78 if number & 1 else 0) for number in table]
    return tuple(table)


_CRC = _crc_table()


def crc32c(data: bytes) -> int:
    """Return the checksum of Castagnoli's polynomial (RFC 9260, appendix A)."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC[(value ^ byte) & 0xFF] ^ value >> 8
    return value ^ 0xFFFFFFFF
