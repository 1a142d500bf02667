"""The commands that return values: `get`, `gets`, `gat` and `gats`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prefork_keyvalue.counts import Counts
from prefork_keyvalue.replies import BAD_EXPTIME, BAD_FORMAT, END, ERROR, RefusedError
from prefork_keyvalue.requests import Requests
from prefork_keyvalue.store import Item, Store
from prefork_keyvalue.words import MAX_KEY_BYTES, int32

KEYS_AT_ONCE = 64
"""How many keys are looked up before a piece of the reply is handed out."""
FEW_KEYS = 8
"""For how many keys the reply is one piece."""
PIECE_BYTES = 65_536
"""After how many bytes a piece is handed out if they come from fewer keys."""

LookUp = Callable[[bytes, float], Item | None]
Show = Callable[[bytes, Item], bytes]


class Reads:
    """Answers these commands. Many keys are answered in pieces, and looked up piece by piece.

    Args:
        store: where the values are.
        counts: where hits and misses are counted.
    """

    def __init__(self, store: Store, counts: Counts) -> None:
        self._store, self._counts = store, counts

    def get(self, words: list[bytes], _requests: Requests) -> bytes | Iterator[bytes]:
        """Return the values under any number of keys."""
        if len(words) != 2:
            return self._answer(words, 1, self._look_up, _value)
        key = words[1]
        if len(key) > MAX_KEY_BYTES:
            raise RefusedError(BAD_FORMAT)
        item = self._look_up(key, time.time())
        return END if item is None else _value(key, item) + END

    def gets(self, words: list[bytes], _requests: Requests) -> bytes | Iterator[bytes]:
        """Return them with their versions, which `cas` asks for."""
        return self._answer(words, 1, self._look_up, _value_and_version)

    def gat(self, words: list[bytes], _requests: Requests) -> bytes | Iterator[bytes]:
        """Return values, and give them a new expiry."""
        return self._answer(words, 2, self._toucher(words), _value)

    def gats(self, words: list[bytes], _requests: Requests) -> bytes | Iterator[bytes]:
        """Return values and their versions, and give them a new expiry."""
        return self._answer(words, 2, self._toucher(words), _value_and_version)

    def _answer(
        self, words: list[bytes], before: int, look_up: LookUp, show: Show
    ) -> bytes | Iterator[bytes]:
        """Return the reply, or its pieces; the keys are the words after the first `before`."""
        if len(words) < 2:
            raise RefusedError(ERROR)
        keys = words[before:]
        if keys and max(map(len, keys)) > MAX_KEY_BYTES:
            raise RefusedError(BAD_FORMAT)
        pieces = _pieces(keys, look_up, show)
        return pieces if len(keys) > FEW_KEYS else b"".join(pieces)

    def _look_up(self, key: bytes, now: float) -> Item | None:
        item = self._store.get(key, now)
        if item is None:
            self._counts.get_misses += 1
        else:
            self._counts.get_hits += 1
        return item

    def _toucher(self, words: list[bytes]) -> LookUp:
        """Return what looks up an item and gives it the expiry that the line has."""
        if len(words) < 2:
            raise RefusedError(ERROR)
        exptime = int32(words[1], BAD_EXPTIME)

        def touch(key: bytes, now: float) -> Item | None:
            item = self._store.touch(key, exptime, now)
            if item is None:
                self._counts.touch_misses += 1
                self._counts.get_misses += 1
            else:
                self._counts.touch_hits += 1
            return item

        return touch


def _pieces(keys: list[bytes], look_up: LookUp, show: Show) -> Iterator[bytes]:
    piece: list[bytes] = []
    size, now = 0, time.time()
    for count, key in enumerate(keys, 1):
        item = look_up(key, now)
        if item is not None:
            piece.append(show(key, item))
            size += len(item.value)
        if count % KEYS_AT_ONCE == 0 or size > PIECE_BYTES:
            yield b"".join(piece)
            size, now = 0, time.time()
            piece.clear()
    piece.append(END)
    yield b"".join(piece)


def _value(key: bytes, item: Item) -> bytes:
    value = item.value
    return b"VALUE %b %d %d\r\n%b\r\n" % (key, item.flags, len(value), value)


def _value_and_version(key: bytes, item: Item) -> bytes:
    value = item.value
    return b"VALUE %b %d %d %d\r\n%b\r\n" % (key, item.flags, len(value), item.version, value)
