"""Tables of the bus: requests and answers as bytes, and what the tables hold. No I/O."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from host.bus.frames import BadFrameError

MAX_VALUE_BYTES = 65_536
_REQUEST = struct.Struct("<BHii")  # what, length of the key, of the value, of what is expected
_ITEM = struct.Struct("<HI")  # length of key and value
_NONE = -1
ITEM_BYTES = 200
"""About what an entry costs beside its key and its value (CPython, 64 bits)."""
_PIECE_BYTES = 262_144


class Op(IntEnum):
    """What is asked for."""

    GET = 1
    SET = 2
    DELETE = 3
    COMPARE_AND_SET = 4
    ITEMS = 5


READS = (Op.GET, Op.ITEMS)
"""What changes nothing."""


class Request(NamedTuple):
    """A question to a table.

    Attributes:
        op: what is asked for.
        key: the key; b"" for all.
        value: what it is to have; None for nothing.
        expected: what it must have; None for nothing.
    """

    op: int
    key: bytes = b""
    value: bytes | None = None
    expected: bytes | None = None

    def pack(self) -> bytes:
        """Write it."""
        value, expected = (_NONE if each is None else len(each) for each in self[2:])
        head = _REQUEST.pack(self.op, len(self.key), value, expected)
        return head + self.key + (self.value or b"") + (self.expected or b"")

    @classmethod
    def unpack(cls, data: bytes) -> Request:
        """Read it.

        Raises:
            BadFrameError: it is none.
        """
        if len(data) < _REQUEST.size:
            raise BadFrameError(f"a request of {len(data)} bytes")
        op, key_size, value_size, expected_size = _REQUEST.unpack_from(data)
        sizes = (key_size, max(value_size, 0), max(expected_size, 0))
        is_whole = _REQUEST.size + sum(sizes) == len(data) and max(sizes) <= MAX_VALUE_BYTES
        if not is_whole or not Op.GET <= op <= Op.ITEMS:
            raise BadFrameError(f"request {op} of {len(data)} bytes for {sizes}")
        at, parts = _REQUEST.size, []
        for size in sizes:
            parts.append(data[at : at + size])
            at += size
        key, value, expected = parts
        return cls(
            op,
            key,
            None if value_size == _NONE else value,
            None if expected_size == _NONE else expected,
        )


class Answer(NamedTuple):
    """What is answered.

    Attributes:
        done: whether it is done, or known.
        value: the value; None if there is none.
    """

    done: bool
    value: bytes | None = None

    def pack(self) -> bytes:
        """Write it."""
        return bytes((self.done, self.value is not None)) + (self.value or b"")

    @classmethod
    def unpack(cls, data: bytes) -> Answer:
        """Read it."""
        done, has_value = data[:2]
        return cls(bool(done), data[2:] if has_value else None)


NOT_DONE = Answer(done=False)
DONE = Answer(done=True)


def pack_items(items: Iterator[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """Write keys with their values, in pieces of some 256 KiB."""
    pieces: list[bytes] = []
    size = 0
    for key, value in items:
        pieces += (_ITEM.pack(len(key), len(value)), key, value)
        size += len(key) + len(value)
        if size >= _PIECE_BYTES:
            yield b"".join(pieces)
            pieces, size = [], 0
    if pieces:
        yield b"".join(pieces)


def unpack_items(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Read what `pack_items` has written."""
    at = 0
    while at < len(data):
        key_size, value_size = _ITEM.unpack_from(data, at)
        at += _ITEM.size
        middle, end = at + key_size, at + key_size + value_size
        yield data[at:middle], data[middle:end]
        at = end


class TableLimits(NamedTuple):
    """How much tables hold, in bytes, with what Python needs for each entry.

    Attributes:
        table_bytes: one table.
        bytes: all tables.
    """

    table_bytes: int = 4_194_304
    bytes: int = 67_108_864


_LIMITS = TableLimits()


class _Table:
    __slots__ = ("items", "size")

    def __init__(self) -> None:
        self.items: dict[bytes, bytes] = {}
        self.size = 0


class Tables:
    """All tables, by their names. One that is empty is none.

    Args:
        limits: how much they hold.
    """

    def __init__(self, limits: TableLimits = _LIMITS) -> None:
        self._limits = limits
        self._tables: dict[bytes, _Table] = {}
        self._size = 0

    def do(self, name: bytes, request: Request) -> Answer:
        """Do what is asked for, but for ITEMS."""
        table = self._tables.get(name)
        now = None if table is None else table.items.get(request.key)
        match request.op:
            case Op.GET:
                return Answer(done=True, value=now)
            case Op.SET | Op.DELETE:
                return self._put(name, request.key, request.value)
            case Op.COMPARE_AND_SET if now == request.expected:
                return self._put(name, request.key, request.value)
        return NOT_DONE

    def items(self, name: bytes) -> Iterator[bytes]:
        """Yield all keys of a table with their values, in pieces."""
        table = self._tables.get(name)
        return pack_items(iter(table.items.items())) if table else iter(())

    def state(self) -> list[tuple[bytes, list[tuple[bytes, bytes]]]]:
        """Return all tables, for those that take over."""
        return [(name, list(table.items.items())) for name, table in self._tables.items()]

    def restore(self, state: list[tuple[bytes, list[tuple[bytes, bytes]]]]) -> None:
        """Take over."""
        for name, items in state:
            for key, value in items:
                self._put(name, key, value)

    def _put(self, name: bytes, key: bytes, value: bytes | None) -> Answer:
        table = self._tables.get(name) or _Table()
        before = table.items.get(key)
        change = _size(key, value) - _size(key, before)
        whole, all_of_them = table.size + change, self._size + change
        if change > 0 and (whole > self._limits.table_bytes or all_of_them > self._limits.bytes):
            return NOT_DONE
        table.size, self._size = whole, all_of_them
        if value is not None:
            table.items[key] = value
            self._tables[name] = table
        elif before is not None:
            del table.items[key]
            if not table.items:
                del self._tables[name]
        return DONE


def _size(key: bytes, value: bytes | None) -> int:
    return 0 if value is None else len(key) + len(value) + ITEM_BYTES
