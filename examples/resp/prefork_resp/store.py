"""The store: values by key, some with an expiry, in bounded memory. No input or output."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

ITEM_OVERHEAD = 320
"""Bytes that a key takes besides its own and those of its value: objects, their heads, two rows."""
LIST_OVERHEAD = 800
ELEMENT_OVERHEAD = 64
_SWEPT_AT_ONCE = 1000


class Items(deque[bytes]):
    """A list under a key.

    Attributes:
        size: what its elements count for.
    """

    __slots__ = ("size",)

    def __init__(self) -> None:
        super().__init__()
        self.size = LIST_OVERHEAD


Value = bytes | int | Items
"""A string; a string that is a number, which has become one when it was first counted; a list."""


class Store:
    """Values by key.

    Args:
        max_bytes: how much memory all may take.
        clock: tells the time in seconds since the epoch.

    Attributes:
        room: how many bytes are left; below 0 no more may be stored.
        values: the values; `find` knows which of them have expired.
        expires: for the keys that have one, when they expire, in milliseconds since the epoch.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float]) -> None:
        self._max_bytes, self._clock = max_bytes, clock
        self.clear()

    def __len__(self) -> int:
        return len(self.values)

    @property
    def used(self) -> int:
        """How many bytes all values take."""
        return self._max_bytes - self.room

    def now(self) -> int:
        """Return the time, in milliseconds since the epoch."""
        return int(self._clock() * 1000)

    def find(self, key: bytes) -> Value | None:
        """Return the value of a key, unless it has expired."""
        if key in self.expires and self.expires[key] < self.now():
            self.delete(key)
        return self.values.get(key)

    def put(self, key: bytes, value: bytes | int) -> None:
        """Store a string or number, in place of what was there. A key keeps its expiry."""
        old = self.values.get(key)
        if type(old) is type(value) is bytes:
            self.room += len(old) - len(value)
        else:
            if old is None:
                self.room -= ITEM_OVERHEAD + len(key)
            self.room += _size(old) - _size(value)
        self.values[key] = value

    def begin_list(self, key: bytes) -> Items:
        """Store an empty list under a key that has no value, and return it."""
        items = self.values[key] = Items()
        self.room -= ITEM_OVERHEAD + len(key) + LIST_OVERHEAD
        return items

    def count_elements(self, items: Items, count: int, size: int) -> None:
        """Take the room for `count` elements that a list has got, which have `size` bytes."""
        size += ELEMENT_OVERHEAD * count
        items.size += size
        self.room -= size

    def delete(self, key: bytes) -> bool:
        """Remove a key; tell whether there was one."""
        value = self.values.pop(key, None)
        self.expires.pop(key, None)
        if value is None:
            return False
        self.room += ITEM_OVERHEAD + len(key) + _size(value)
        return True

    def clear(self) -> None:
        """Remove everything."""
        self.values: dict[bytes, Value] = {}
        self.expires: OrderedDict[bytes, int] = OrderedDict()
        self.room = self._max_bytes

    def sweep(self) -> None:
        """Remove some of what has expired: it is looked at in turn, a part each time."""
        now, expires = self.now(), self.expires
        for _ in range(min(len(expires), _SWEPT_AT_ONCE)):
            key, when = next(iter(expires.items()))
            if when < now:
                self.delete(key)
            else:
                expires.move_to_end(key)


def _size(value: Value | None) -> int:
    """Return what a value counts for besides its key."""
    if type(value) is bytes:
        return len(value)
    return value.size if isinstance(value, Items) else 0
