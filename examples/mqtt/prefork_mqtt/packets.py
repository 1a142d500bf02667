"""Packets: what clients send is read, what they are sent is written. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache, partial
from typing import NamedTuple

from host.plugins.coordination import MQTT_WILDCARDS
from host.plugins.framing import FieldReader, FrameSyntaxError, encode_varint

_NUMBER = struct.Struct(">H")
_FAILURE = 0x80
_MOST_REMEMBERED, _REMEMBERED_BYTES = 5000, 500
_PUBLISH = [bytes((0x30 | flags,)) for flags in range(16)]


class Kind:
    """The types of packets [2.2.1]: no enumeration, whose members are had more slowly."""

    CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
    SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = range(8, 15)


_FLAGS = {Kind.PUBREL: 2, Kind.SUBSCRIBE: 2, Kind.UNSUBSCRIBE: 2}
_NUMBERED = [bytes((kind << 4 | _FLAGS.get(kind, 0), 2)) for kind in range(16)]


class Refusal(IntEnum):
    """Why a client is not let in: the return codes of CONNACK [3.2.2.3]."""

    PROTOCOL = 1
    IDENTIFIER = 2
    UNAVAILABLE = 3
    LOGIN = 4
    NOT_AUTHORIZED = 5


class RefusedError(FrameSyntaxError):
    """A client must be told why it is not let in.

    Attributes:
        refusal: why.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.name)
        self.refusal = refusal


class Publish(NamedTuple):
    """A message, as a client publishes it or leaves it for the time when it has gone.

    Attributes:
        packet_id: its number; 0 with QoS 0.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    packet_id: int = 0

    def pack(self) -> bytes:
        """Return it as it is in tables of the bus, without its number."""
        topic = self.topic.encode()
        flags = bytes((self.qos | self.retain << 2,))
        return flags + _NUMBER.pack(len(topic)) + topic + self.payload

    @classmethod
    def unpack(cls, data: bytes) -> Publish:
        """Return what `pack` has made bytes of."""
        body = FieldReader(data)
        flags, topic = body.number(1), body.text(2)
        return cls(topic, body.rest(), flags & 3, bool(flags & 4))


_make_publish: Callable[..., Publish] = partial(tuple.__new__, Publish)
"""What `Publish` itself does, but it is a function of Python: that takes twice as long."""


class Connect(NamedTuple):
    """What a client says of itself. `keep_alive` is in seconds, 0 for none."""

    client_id: str
    clean: bool
    keep_alive: int
    will: Publish | None
    username: str | None
    password: bytes | None


def kind_of(packet: bytes) -> int:
    """Return the type of a packet, whose flags are right but perhaps for those of PUBLISH [2.2.2].

    Raises:
        FrameSyntaxError: they are not.
    """
    first = packet[0]
    kind = first >> 4
    if kind != Kind.PUBLISH and first & 15 != _FLAGS.get(kind, 0):
        raise FrameSyntaxError(f"a packet of type {kind} has the flags {first & 15}")
    return kind


def read_connect(packet: bytes) -> Connect:
    """Read a CONNECT [3.1].

    Raises:
        FrameSyntaxError: it is none.
        RefusedError: it is one of another version, or names no client where it must.
    """
    body = FieldReader(packet, 1)
    name, level = body.data(2), body.number(1)
    if name not in (b"MQTT", b"MQIsdp"):
        raise FrameSyntaxError("this is not MQTT")
    if (name, level) != (b"MQTT", 4):
        raise RefusedError(Refusal.PROTOCOL)
    flags, keep_alive, client_id = body.number(1), body.number(2), _text(body)
    clean, has_will, qos = bool(flags & 2), flags & 4, flags >> 3 & 3
    if flags & 1 or qos == 3 or (not has_will and flags & 0x38) or flags & 0xC0 == 0x40:
        raise FrameSyntaxError("the flags of CONNECT contradict each other")
    will = None
    if has_will:
        will = Publish(
            MQTT_WILDCARDS.check_topic(_text(body)), body.data(2), qos, bool(flags & 0x20)
        )
    username = _text(body) if flags & 0x80 else None
    password = body.data(2) if flags & 0x40 else None
    body.end()
    if not client_id and not clean:
        raise RefusedError(Refusal.IDENTIFIER)
    return Connect(client_id, clean, keep_alive, will, username, password)


def read_publish(packet: bytes) -> Publish:
    """Read a PUBLISH [3.3].

    Raises:
        FrameSyntaxError: it is none.
    """
    if len(packet) < 3:
        raise FrameSyntaxError("a packet ends within a field")
    first, end = packet[0], 3 + (packet[1] << 8 | packet[2])
    qos, packet_id = first >> 1 & 3, 0
    if qos == 3 or first & 0b1110 == 0b1000:
        raise FrameSyntaxError("a PUBLISH has QoS 3, or QoS 0 and comes again")
    name = packet[3:end]
    topic = _topic(name) if end <= _REMEMBERED_BYTES else _topic.__wrapped__(name)
    if qos:
        packet_id, end = _packet_id(packet[end : end + 2]), end + 2
    if end > len(packet):
        raise FrameSyntaxError("a packet ends within a field")
    return _make_publish((topic, packet[end:], qos, bool(first & 1), packet_id))


@lru_cache(_MOST_REMEMBERED)
def _topic(name: bytes) -> str:
    """Read the name of a topic [4.7.1]; most are read many times."""
    try:
        return MQTT_WILDCARDS.check_topic(name.decode())
    except UnicodeDecodeError as error:
        raise FrameSyntaxError("a topic is not in UTF-8") from error


def read_packet_id(packet: bytes) -> int:
    """Read what has a number and nothing else: PUBACK, PUBREC, PUBREL, PUBCOMP."""
    number = packet[1] << 8 | packet[2] if len(packet) == 3 else 0
    return number or _packet_id(packet[1:])


def read_subscribe(packet: bytes) -> tuple[int, list[tuple[str, int]]]:
    """Read a SUBSCRIBE [3.8]: its number, and filters with the QoS that is asked for."""
    body = FieldReader(packet, 1)
    packet_id = _packet_id(body.take(2))
    found: list[tuple[str, int]] = []
    while body.more() or not found:
        found.append((MQTT_WILDCARDS.check_filter(_text(body)), body.number(1)))
    if any(qos > 2 for _, qos in found):
        raise FrameSyntaxError("a SUBSCRIBE asks for a QoS above 2")
    return packet_id, found


def read_unsubscribe(packet: bytes) -> tuple[int, list[str]]:
    """Read an UNSUBSCRIBE [3.10]: its number, and filters."""
    body = FieldReader(packet, 1)
    packet_id = _packet_id(body.take(2))
    found: list[str] = []
    while body.more() or not found:
        found.append(MQTT_WILDCARDS.check_filter(_text(body)))
    return packet_id, found


def _text(body: FieldReader) -> str:
    """Read a text [1.5.3]."""
    if "\0" in (text := body.text(2)):
        raise FrameSyntaxError("a text holds U+0000")
    return text


def _packet_id(field: bytes) -> int:
    """Read the number of a packet, which is never 0 [2.3.1]."""
    if len(field) != 2 or field == b"\0\0":
        raise FrameSyntaxError("a packet has the number 0, or none, or more than that")
    return field[0] << 8 | field[1]


def connack(code: int, *, session_present: bool = False) -> bytes:
    """Write a CONNACK [3.2]; the code 0 lets the client in."""
    return bytes((Kind.CONNACK << 4, 2, session_present, code))


def suback(packet_id: int, granted: list[int | None]) -> bytes:
    """Write a SUBACK [3.9]: the QoS of each filter, None if it was refused."""
    codes = bytes(_FAILURE if qos is None else qos for qos in granted)
    return b"\x90" + encode_varint(2 + len(codes)) + _NUMBER.pack(packet_id) + codes


def numbered(kind: int, packet_id: int) -> bytes:
    """Write what has a number and nothing else."""
    return _NUMBERED[kind] + _NUMBER.pack(packet_id)


def publish_head(topic: str, size: int, qos: int, *, retain: bool, again: bool = False) -> bytes:
    """Write a PUBLISH up to its number, or with QoS 0 up to its payload, which has `size` bytes."""
    head = _head if len(topic) <= _REMEMBERED_BYTES else _head.__wrapped__
    return head(topic, size + 2 if qos else size, again << 3 | qos << 1 | retain)


@lru_cache(_MOST_REMEMBERED)
def _head(topic: str, size: int, flags: int) -> bytes:
    """Write a PUBLISH up to the end of its topic; `size` bytes follow."""
    name = topic.encode()
    return _PUBLISH[flags] + encode_varint(2 + len(name) + size) + _NUMBER.pack(len(name)) + name
