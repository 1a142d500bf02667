"""The commands that a value follows: `set`, `add`, `replace`, `append`, `prepend` and `cas`."""

from __future__ import annotations

import time
from collections.abc import Callable

from prefork_keyvalue.counts import Counts
from prefork_keyvalue.replies import (
    BAD_FORMAT,
    ERROR,
    EXISTS,
    NOT_FOUND,
    NOT_STORED,
    STORED,
    TOO_LARGE,
    RefusedError,
)
from prefork_keyvalue.requests import Requests
from prefork_keyvalue.store import Item, Store
from prefork_keyvalue.words import MAX_KEY_BYTES, int32, number, uint32, uint64

MAX_VALUE_BYTES = 2**31 - 3
"""Longest value that memcached takes for one; a longer one announces nothing."""

Update = tuple[bytes, int, int, bytes]
"""Key, flags, expiry and value."""


class Updates:
    """Answers these commands.

    Whatever is wrong with a line, a value that it announces is left out: taken for commands it
    would do what it says. memcached leaves it out only if it is too large.

    Args:
        store: where values are put.
        counts: where it counts what it does.
        max_item_bytes: the largest item, counted as memcached does.
    """

    def __init__(self, store: Store, counts: Counts, max_item_bytes: int) -> None:
        self._store, self._counts, self._max = store, counts, max_item_bytes

    def set(self, words: list[bytes], requests: Requests) -> bytes:
        """Store a value."""
        update = self._read(words, requests)
        if update is None:
            return b""
        self._store.put(*update, time.time())
        return STORED

    def add(self, words: list[bytes], requests: Requests) -> bytes:
        """Store a value where there is none."""
        return self._put_if(words, requests, lambda there: there is None)

    def replace(self, words: list[bytes], requests: Requests) -> bytes:
        """Store a value where there is one."""
        return self._put_if(words, requests, lambda there: there is not None)

    def append(self, words: list[bytes], requests: Requests) -> bytes:
        """Put a value behind the one that is there."""
        return self._extend(words, requests, lambda there, more: there + more)

    def prepend(self, words: list[bytes], requests: Requests) -> bytes:
        """Put a value before the one that is there."""
        return self._extend(words, requests, lambda there, more: more + there)

    def cas(self, words: list[bytes], requests: Requests) -> bytes:
        """Store a value in place of the one with the version that the client has seen."""
        update = self._read(words, requests, 1)
        if update is None:
            return b""
        now = time.time()
        there = self._store.get(update[0], now)
        if there is None:
            self._counts.cas_misses += 1
            return NOT_FOUND
        if there.version != uint64(words[5]):
            self._counts.cas_badval += 1
            return EXISTS
        self._counts.cas_hits += 1
        self._store.put(*update, now)
        return STORED

    def refuse(self, words: list[bytes], requests: Requests) -> bytes:
        """Leave out the value of `ms`, a meta command: none of these is known."""
        size = number(words[2]) if len(words) > 2 else None
        if size is not None and 0 <= size <= MAX_VALUE_BYTES:
            requests.skip(size + 2)
        return ERROR

    def _put_if(
        self, words: list[bytes], requests: Requests, is_right: Callable[[Item | None], bool]
    ) -> bytes:
        update = self._read(words, requests)
        if update is None:
            return b""
        now = time.time()
        if not is_right(self._store.get(update[0], now)):
            return NOT_STORED
        self._store.put(*update, now)
        return STORED

    def _extend(
        self, words: list[bytes], requests: Requests, join: Callable[[bytes, bytes], bytes]
    ) -> bytes:
        """Change the value that is there; the flags and the expiry of the line are not used."""
        update = self._read(words, requests)
        if update is None:
            return b""
        key, now = update[0], time.time()
        there = self._store.get(key, now)
        if there is None:
            return NOT_STORED
        value = join(there.value, update[3])
        if _item_size(key, there.flags, len(value)) > self._max:
            return NOT_STORED
        self._store.change(key, there, value, now)
        return STORED

    def _read(self, words: list[bytes], requests: Requests, more: int = 0) -> Update | None:
        """Read the words and the value of a command that has `more` words than the others.

        Returns:
            What is to be stored; None if the value has not come yet.

        Raises:
            RefusedError: nothing is to be stored.
        """
        try:
            if len(words) - more not in (5, 6):
                raise RefusedError(ERROR)
            if len(words[1]) > MAX_KEY_BYTES:
                raise RefusedError(BAD_FORMAT)
            key, flags, exptime, size = words[1], uint32(words[2]), int32(words[3]), int32(words[4])
            if more:
                uint64(words[5])
            if not 0 <= size <= MAX_VALUE_BYTES:
                raise RefusedError(BAD_FORMAT)
        except RefusedError:
            requests.skip(_announced(words, more))
            raise
        if _item_size(key, flags, size) > self._max:
            self._counts.store_too_large += 1
            if words[0] == b"set":  # whoever reads the key must not find what was to be replaced
                self._store.delete(key, time.time())
            requests.skip(size + 2)
            raise RefusedError(TOO_LARGE)
        value = requests.take_value(size)
        if value is None:
            return None
        self._counts.cmd_set += 1
        return key, flags, exptime, value


def _announced(words: list[bytes], more: int) -> int:
    """Return how many bytes the value has, with its end, that follows a line that is refused.

    A key with spaces in it, which a client has not looked for, moves the length to the right. So it
    is the last number that can be one, but for the version of `cas`.
    """
    sizes = [size for word in words[4:] if (size := number(word)) is not None and size >= 0]
    if more and len(sizes) > 1:
        sizes.pop()
    return sizes[-1] + 2 if sizes and sizes[-1] <= MAX_VALUE_BYTES else 0


def _item_size(key: bytes, flags: int, size: int) -> int:
    """Return the size of an item as memcached counts it (`item_make_header` in its items.c).

    That is a head of 48 bytes, 8 for the version, 4 for flags if there are any, the key with a zero
    byte, and the value with its end of line.
    """
    return 59 + len(key) + size + (4 if flags else 0)
