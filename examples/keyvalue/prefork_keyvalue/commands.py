"""The commands of the memcached text protocol (its doc/protocol.txt), and their replies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prefork_keyvalue import MEMCACHED_VERSION, replies
from prefork_keyvalue.counts import Counts
from prefork_keyvalue.options import Options
from prefork_keyvalue.reads import Reads
from prefork_keyvalue.replies import RefusedError
from prefork_keyvalue.requests import Requests
from prefork_keyvalue.stats import Stats
from prefork_keyvalue.store import Store
from prefork_keyvalue.updates import Updates
from prefork_keyvalue.words import COUNTER_LIMIT, int32, key_of, split, uint32, uint64

Reply = bytes | Iterator[bytes] | None
"""A reply, empty for none; a long one comes in pieces. None: hang up."""
Command = Callable[[list[bytes], Requests], Reply]

_VERSION = f"VERSION {MEMCACHED_VERSION}\r\n".encode()
_MIB = 1_048_576
_MIN_MIB, _MAX_MIB = 8, 1_000_000_000


class Commands:
    """Answers command lines, out of a store of its own.

    Args:
        options: the options of the plugin.
        counts: where it counts what it does.

    Attributes:
        stats: answers `stats`.
    """

    def __init__(self, options: Options, counts: Counts) -> None:
        self._options, self._counts = options, counts
        self._store = store = Store(options.max_bytes, counts)
        self.stats = Stats(store, counts, options)
        reads, updates = Reads(store, counts), Updates(store, counts, options.max_item_bytes)
        silenced: dict[bytes, Command] = {
            b"set": updates.set,
            b"add": updates.add,
            b"replace": updates.replace,
            b"append": updates.append,
            b"prepend": updates.prepend,
            b"cas": updates.cas,
            b"incr": self._count,
            b"decr": self._count,
            b"delete": self._delete,
            b"touch": self._touch,
            b"flush_all": self._flush_all,
            b"verbosity": self._verbosity,
            b"cache_memlimit": self._cache_memlimit,
        }
        # How many words a command has at least for the last one, `noreply`, to silence it. A line
        # `delete noreply` deletes a key.
        self._silent_from = dict.fromkeys(silenced, 2) | {b"delete": 3}
        self._table: dict[bytes, Command] = silenced | {
            b"get": reads.get,
            b"gets": reads.gets,
            b"gat": reads.gat,
            b"gats": reads.gats,
            b"ms": updates.refuse,
            b"stats": self.stats.answer,
            b"version": lambda _words, _requests: _VERSION,
            b"quit": lambda _words, _requests: None,
        }

    def answer(self, line: bytes, requests: Requests) -> Reply:
        """Carry out the command of a line; of one whose value has not come yet, do nothing.

        Args:
            line: the line, without its end.
            requests: has the value that follows it.
        """
        words = line.split(b" ")
        if b"" in words or b"\0" in line:
            words = split(line)
        name = words[0]
        try:
            reply = self._table.get(name, _unknown)(words, requests)
        except RefusedError as refused:
            reply = refused.reply
        if words[-1] == b"noreply" and reply != replies.ERROR:
            silent_from = self._silent_from.get(name)
            if silent_from is not None and len(words) >= silent_from:
                return b""
        return reply

    def _count(self, words: list[bytes], _requests: Requests) -> bytes:
        """Add to a number or subtract from it: `incr` wraps at 64 bits, `decr` ends at 0."""
        if len(words) not in (3, 4):
            return replies.ERROR
        key, delta, now = key_of(words[1]), uint64(words[2], replies.BAD_DELTA), time.time()
        item, is_incr, counts = self._store.get(key, now), words[0] == b"incr", self._counts
        if item is None:
            counts.incr_misses += is_incr
            counts.decr_misses += not is_incr
            return replies.NOT_FOUND
        there = uint64(item.value, replies.NOT_A_NUMBER)
        result = b"%d" % ((there + delta) % COUNTER_LIMIT if is_incr else max(0, there - delta))
        # As with memcached a value keeps its length when its number becomes shorter.
        self._store.change(key, item, result.ljust(len(item.value)), now)
        counts.incr_hits += is_incr
        counts.decr_hits += not is_incr
        return result + b"\r\n"

    def _delete(self, words: list[bytes], _requests: Requests) -> bytes:
        if not 2 <= len(words) <= 4:
            return replies.ERROR
        # Old clients send a time, which must be 0.
        if words[2:] not in ([], [b"0"], [b"noreply"], [b"0", b"noreply"]):
            return replies.BAD_DELETE
        if self._store.delete(key_of(words[1]), time.time()):
            self._counts.delete_hits += 1
            return replies.DELETED
        self._counts.delete_misses += 1
        return replies.NOT_FOUND

    def _touch(self, words: list[bytes], _requests: Requests) -> bytes:
        if len(words) not in (3, 4):
            return replies.ERROR
        key, exptime = key_of(words[1]), int32(words[2], replies.BAD_EXPTIME)
        if self._store.touch(key, exptime, time.time()):
            self._counts.touch_hits += 1
            return replies.TOUCHED
        self._counts.touch_misses += 1
        return replies.NOT_FOUND

    def _flush_all(self, words: list[bytes], _requests: Requests) -> bytes:
        if len(words) > 3:
            return replies.ERROR
        self._counts.cmd_flush += 1
        given = words[1:-1] if words[-1] == b"noreply" else words[1:]
        exptime = int32(given[0], replies.BAD_EXPTIME) if given else 0
        self._store.flush(exptime, time.time())
        return replies.OK

    def _verbosity(self, words: list[bytes], _requests: Requests) -> bytes:
        """Note what memcached would log; the host's own settings say what is logged here."""
        if len(words) not in (2, 3):
            return replies.ERROR
        self.stats.verbosity = uint32(words[1])
        return replies.OK

    def _cache_memlimit(self, words: list[bytes], _requests: Requests) -> bytes:
        """Change how much memory all items may take; never to more than the option says."""
        if len(words) not in (2, 3):
            return replies.ERROR
        mebibytes = uint32(words[1], replies.ERROR)
        if mebibytes < _MIN_MIB:
            return replies.MEMLIMIT_TOO_SMALL
        if mebibytes > _MAX_MIB:
            return replies.MEMLIMIT_IN_BYTES
        if mebibytes * _MIB > self._options.max_bytes:
            return replies.MEMLIMIT_FAILED
        self._store.max_bytes = mebibytes * _MIB
        return replies.OK


def _unknown(words: list[bytes], _requests: Requests) -> bytes | None:
    """Refuse what is no command; hang up on an HTTP request, whose body may look like commands."""
    return None if words[-1].startswith(b"HTTP/") else replies.ERROR
