"""The store: items with flags, expiry and a version, in bounded memory. No input or output."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from prefork_keyvalue.counts import Counts

ITEM_OVERHEAD = 320
"""Bytes an item takes besides its key and value: two objects, their heads, and the table's row."""

RELATIVE_SECONDS = 60 * 60 * 24 * 30
"""Expiry times up to 30 days count from now, larger ones from the epoch (memcached's rule)."""


@dataclass(slots=True)
class Item:
    """What is stored under a key.

    Attributes:
        flags: what the client gave along, for itself.
        value: the value.
        expires: when it ends, in seconds since the epoch; None for never.
        version: changes with the value; `cas` compares it.
    """

    flags: int
    value: bytes
    expires: float | None
    version: int


class Store:
    """Items by key; the least recently used go when there is no room.

    Args:
        max_bytes: how much memory all items may take, keys and overhead included.
        counts: where evictions and the like are counted.

    Attributes:
        max_bytes: the same; a lower value takes effect when something is stored.
        used: how many bytes they take.
    """

    def __init__(self, max_bytes: int, counts: Counts) -> None:
        self.max_bytes = max_bytes
        self.used = 0
        self._counts = counts
        self._items: OrderedDict[bytes, Item] = OrderedDict()
        self._versions = 0
        self._flush_at = math.inf

    def __len__(self) -> int:
        return len(self._items)

    def newest(self) -> Iterator[tuple[bytes, Item]]:
        """Return the keys and items, the most recently used first."""
        return ((key, self._items[key]) for key in reversed(self._items))

    def get(self, key: bytes, now: float) -> Item | None:
        """Return the item under `key`, which is the most recently used one now."""
        if now >= self._flush_at:
            self._flush()
        item = self._items.get(key)
        if item is None:
            return None
        if item.expires is not None and item.expires <= now:
            self._remove(key)
            self._counts.get_expired += 1
            return None
        self._items.move_to_end(key)
        return item

    def put(self, key: bytes, flags: int, exptime: int, value: bytes, now: float) -> None:
        """Store an item, in place of the one that was there."""
        if now >= self._flush_at:
            self._flush()
        self._versions = version = self._versions + 1
        self._counts.total_items += 1
        expires = expiry(exptime, now) if exptime else None
        if expires is not None and expires <= now:
            self._remove(key)
            return
        item = self._items.get(key)
        if item is None:
            self._items[key] = Item(flags, value, expires, version)
            self.used += ITEM_OVERHEAD + len(key) + len(value)
        else:
            self.used += len(value) - len(item.value)
            item.flags, item.value, item.expires, item.version = flags, value, expires, version
            self._items.move_to_end(key)
        if self.used > self.max_bytes:
            self._make_room(now)

    def change(self, key: bytes, item: Item, value: bytes, now: float) -> None:
        """Give an item that `get` has just returned a new value; flags and expiry stay."""
        self._versions += 1
        self.used += len(value) - len(item.value)
        item.value, item.version = value, self._versions
        if self.used > self.max_bytes:
            self._make_room(now)

    def delete(self, key: bytes, now: float) -> bool:
        """Remove an item; tell whether there was one."""
        found = self.get(key, now) is not None
        self._remove(key)
        return found

    def touch(self, key: bytes, exptime: int, now: float) -> Item | None:
        """Give an item a new expiry; return it, or None if there is none."""
        item = self.get(key, now)
        if item is not None:
            item.expires = expiry(exptime, now)
        return item

    def flush(self, exptime: int, now: float) -> None:
        """Remove everything that has been stored when the time has come.

        Args:
            exptime: in so many seconds or at that time, as for an item; 0 or less: now. It is done
                a second earlier, as memcached does, whose clock counts whole seconds.
            now: the time.
        """
        self._flush_at = _moment(exptime, now) - 1 if exptime > 0 else now
        if now >= self._flush_at:
            self._flush()
            self._versions += 1  # memcached uses one up, and clients may compare

    def _flush(self) -> None:
        self._flush_at = math.inf
        self._items.clear()
        self.used = 0

    def _make_room(self, now: float) -> None:
        """Remove the least recently used; the item that was used last stays."""
        while self.used > self.max_bytes and len(self._items) > 1:
            oldest, item = next(iter(self._items.items()))
            self._remove(oldest)
            if item.expires is None or item.expires > now:
                self._counts.evictions += 1
            else:
                self._counts.reclaimed += 1

    def _remove(self, key: bytes) -> None:
        item = self._items.pop(key, None)
        if item is not None:
            self.used -= _size(key, item.value)


def expiry(exptime: int, now: float) -> float | None:
    """Return when an item ends that was given `exptime`; None for never."""
    if exptime == 0:
        return None
    return now if exptime < 0 else _moment(exptime, now)


def _moment(exptime: int, now: float) -> float:
    return now + exptime if exptime <= RELATIVE_SECONDS else float(exptime)


def _size(key: bytes, value: bytes) -> int:
    return ITEM_OVERHEAD + len(key) + len(value)
