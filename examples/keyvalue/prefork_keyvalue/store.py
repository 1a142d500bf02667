"""The store: items with flags, expiry and a version, in bounded memory. No input or output."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass

ITEM_OVERHEAD = 320
"""Bytes an item takes besides its key and value: two objects, their heads, and the table's row."""

RELATIVE_SECONDS = 60 * 60 * 24 * 30
"""Expiry times up to 30 days count from now, larger ones from the epoch (memcached's rule)."""

COUNTER_LIMIT = 2**64


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

    Attributes:
        used: how many bytes they take.
        counts: what happened so far, by the names that `stats` uses.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._items: OrderedDict[bytes, Item] = OrderedDict()
        self._versions = 0
        self._flush_at: float | None = None
        self.used = 0
        self.counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: bytes, now: float) -> Item | None:
        """Return the item under `key`, which is the most recently used one now."""
        self._flush_if_due(now)
        item = self._items.get(key)
        if item is None:
            return None
        if item.expires is not None and item.expires <= now:
            self._remove(key)
            return None
        self._items.move_to_end(key)
        return item

    def put(self, key: bytes, flags: int, value: bytes, exptime: int, now: float) -> None:
        """Store an item, in place of the one that was there."""
        self._flush_if_due(now)
        self._remove(key)
        self._versions += 1
        expires = expiry(exptime, now)
        if expires is not None and expires <= now:
            return
        size = _size(key, value)
        while self._items and self.used + size > self._max_bytes:
            oldest, item = next(iter(self._items.items()))
            self._remove(oldest)
            if item.expires is None or item.expires > now:
                self.counts["evictions"] += 1
        self._items[key] = Item(flags, value, expires, self._versions)
        self.used += size
        self.counts["total_items"] += 1

    def change(self, key: bytes, item: Item, value: bytes) -> None:
        """Give an item that `get` has returned a new value; flags and expiry stay."""
        self._versions += 1
        self.used += len(value) - len(item.value)
        item.value, item.version = value, self._versions

    def delete(self, key: bytes, now: float) -> bool:
        """Remove an item; tell whether there was one."""
        found = self.get(key, now) is not None
        self._remove(key)
        return found

    def touch(self, key: bytes, exptime: int, now: float) -> bool:
        """Give an item a new expiry; tell whether there was one."""
        item = self.get(key, now)
        if item is None:
            return False
        item.expires = expiry(exptime, now)
        return True

    def flush(self, delay: int, now: float) -> None:
        """Remove everything that will have been stored when `delay` seconds have passed."""
        self._flush_at = now + delay
        self._flush_if_due(now)

    def _flush_if_due(self, now: float) -> None:
        if self._flush_at is not None and now >= self._flush_at:
            self._flush_at = None
            self._items.clear()
            self.used = 0

    def _remove(self, key: bytes) -> None:
        item = self._items.pop(key, None)
        if item is not None:
            self.used -= _size(key, item.value)


def expiry(exptime: int, now: float) -> float | None:
    """Return when an item ends that was given `exptime`; None for never."""
    if exptime == 0:
        return None
    if exptime < 0:
        return now
    return now + exptime if exptime <= RELATIVE_SECONDS else float(exptime)


def _size(key: bytes, value: bytes) -> int:
    return ITEM_OVERHEAD + len(key) + len(value)
