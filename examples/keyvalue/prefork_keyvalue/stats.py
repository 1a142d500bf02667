"""The tables of the command `stats`."""

from __future__ import annotations

import os
import resource
import struct
import time
from collections.abc import Callable, Mapping
from itertools import islice

from prefork_keyvalue import MEMCACHED_VERSION, replies
from prefork_keyvalue.counts import Counts
from prefork_keyvalue.options import Options
from prefork_keyvalue.requests import Requests
from prefork_keyvalue.store import Store
from prefork_keyvalue.words import uint32

_SLAB_CLASSES = 64
_DUMP_ITEMS = 5000
"""How many items `stats cachedump` shows at most; memcached ends after 2 MiB."""


class Stats:
    """Answers `stats`, with memcached's names for what exists here, too.

    memcached keeps items of similar sizes together, in slab classes. Here there is one, class 1.

    Args:
        store: what it tells of.
        counts: what has been counted.
        options: the options of the plugin.

    Attributes:
        connections: how many there are; who accepts and closes them sets it.
        verbosity: what the command `verbosity` has set.
    """

    def __init__(self, store: Store, counts: Counts, options: Options) -> None:
        self._store, self._counts, self._options = store, counts, options
        self._started = time.time()
        self.connections = self.verbosity = 0
        self._tables: dict[bytes, Callable[[], dict[str, object]]] = {
            b"": self._general,
            b"settings": self._settings,
            b"items": self._items,
            b"slabs": self._slabs,
        }

    def answer(self, words: list[bytes], _requests: Requests) -> bytes:
        """Return the table that the second word asks for, or do what it says."""
        if words[1:2] == [b"cachedump"]:
            return self._cachedump(words[2:])
        if words[1:2] == [b"reset"]:
            self._counts.reset()
            return replies.RESET
        table = self._tables.get(b"".join(words[1:2]))
        return replies.ERROR if table is None else _shown(table())

    def stored(self) -> tuple[int, int]:
        """Return how many items there are, and how many bytes they take."""
        return len(self._store), self._store.used

    def _general(self) -> dict[str, object]:
        now, counts, usage = time.time(), self._counts, resource.getrusage(resource.RUSAGE_SELF)
        return {
            "pid": os.getpid(),
            "uptime": int(now - self._started),
            "time": int(now),
            "version": MEMCACHED_VERSION,
            "pointer_size": 8 * struct.calcsize("P"),
            "rusage_user": f"{usage.ru_utime:.6f}",
            "rusage_system": f"{usage.ru_stime:.6f}",
            "curr_connections": self.connections,
            "cmd_get": counts.get_hits + counts.get_misses,
            "cmd_touch": counts.touch_hits + counts.touch_misses,
            **counts.table(),
            "limit_maxbytes": self._store.max_bytes,
            "threads": 1,
            "bytes": self._store.used,
            "curr_items": len(self._store),
        }

    def _settings(self) -> dict[str, object]:
        return {
            "maxbytes": self._store.max_bytes,
            "verbosity": self.verbosity,
            "evictions": "on",
            "num_threads": 1,
            "detail_enabled": "no",
            "cas_enabled": "yes",
            "item_size_max": self._options.max_item_bytes,
            "flush_enabled": "yes",
            "dump_enabled": "yes",
        }

    def _items(self) -> dict[str, object]:
        if not len(self._store):
            return {}
        return {
            "items:1:number": len(self._store),
            "items:1:mem_requested": self._store.used,
            "items:1:evicted": self._counts.evictions,
            "items:1:reclaimed": self._counts.reclaimed,
        }

    def _slabs(self) -> dict[str, object]:
        counts = self._counts
        return {
            "1:chunk_size": self._options.max_item_bytes,
            "1:used_chunks": len(self._store),
            "1:get_hits": counts.get_hits,
            "1:cmd_set": counts.cmd_set,
            "1:delete_hits": counts.delete_hits,
            "1:incr_hits": counts.incr_hits,
            "1:decr_hits": counts.decr_hits,
            "1:cas_hits": counts.cas_hits,
            "1:cas_badval": counts.cas_badval,
            "1:touch_hits": counts.touch_hits,
            "active_slabs": 1,
            "total_malloced": self._store.used,
        }

    def _cachedump(self, words: list[bytes]) -> bytes:
        """Show the items of a slab class that were used last, as many as are asked for; 0: all."""
        if len(words) < 2:
            return replies.BAD_COMMAND_LINE
        slab, limit = uint32(words[0]), uint32(words[1])
        if slab >= _SLAB_CLASSES:
            return replies.BAD_SLAB
        count = 0 if slab != 1 else min(limit, _DUMP_ITEMS) or _DUMP_ITEMS
        lines = [
            b"ITEM %b [%d b; %d s]\r\n" % (key, len(item.value), item.expires or 0)
            for key, item in islice(self._store.newest(), count)
        ]
        return b"".join(lines) + replies.END


def _shown(table: Mapping[str, object]) -> bytes:
    lines = [f"STAT {name} {value}\r\n" for name, value in table.items()]
    return "".join(lines).encode() + replies.END
