"""The plugin: answers the lines of the memcached text protocol (its doc/protocol.txt)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from host import Connection, Host, hookimpl
from host.plugins.line import session
from prefork_keyvalue.store import COUNTER_LIMIT, Store

MAX_KEY_BYTES = 250
MAX_FLAGS = 2**32 - 1

BAD_FORMAT = b"CLIENT_ERROR bad command line format"


class Options(BaseModel):
    """The section `[options.keyvalue]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(
        default=67_108_864,
        ge=1_048_576,
        description="Bytes that all items together may take. Beyond it the least recently used go.",
    )
    max_item_bytes: int = Field(
        default=1_048_576,
        ge=1,
        description="Longest value. While a value arrives it is kept for its connection, so this"
        " times the number of connections is what clients can make the worker hold besides.",
    )
    max_reply_bytes: int = Field(
        default=8_388_608,
        ge=1,
        description="Longest reply to one get. It must be below connection.max_unsent_bytes.",
    )

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        if self.max_item_bytes > self.max_bytes // 2:
            raise ValueError("max_item_bytes must not exceed half of max_bytes")
        return self


class BadRequestError(Exception):
    """The client's fault; the text is the reply."""


class KeyValue:
    """A key-value store that `host.plugins.line` hands its lines to."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._store = Store(options.max_bytes)
        self._started = time.time()
        self._commands: dict[bytes, Callable[[Connection, list[bytes]], bytes | None]] = {
            **dict.fromkeys((b"get", b"gets"), self._get),
            **dict.fromkeys((b"set", b"add", b"replace", b"cas"), self._begin_to_store),
            **dict.fromkeys((b"incr", b"decr"), self._count),
            b"delete": self._delete,
            b"touch": self._touch,
            b"flush_all": self._flush_all,
            b"stats": self._stats,
            b"version": self._version,
            b"quit": self._quit,
        }

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        """Refuse to start with several workers."""
        if host.workers > 1:
            raise RuntimeError(
                f"keyvalue runs in one worker, and {host.workers} are configured: each would have "
                "a store of its own, and clients would miss what others have stored. "
                "Start the host with --workers 1"
            )

    @hookimpl
    def on_line(self, connection: Connection, line: bytes) -> bool:
        """Answer a command."""
        words = line.split()
        command = self._commands.get(words[0]) if words else None
        try:
            reply = command(connection, words) if command else b"ERROR"
        except BadRequestError as error:
            reply = error.args[0]
        _answer(connection, reply, words)
        return True

    # What is read

    def _get(self, connection: Connection, words: list[bytes]) -> bytes | None:
        if len(words) == 1:
            return b"ERROR"
        keys = [_key(word) for word in words[1:]]
        now, left = time.time(), self._options.max_reply_bytes
        parts = []
        for key in keys:
            item = self._store.get(key, now)
            self._store.counts["get_misses" if item is None else "get_hits"] += 1
            if item is None:
                continue
            head = b"VALUE %b %d %d" % (key, item.flags, len(item.value))
            if words[0] == b"gets":
                head += b" %d" % item.version
            parts += [head, b"\r\n", item.value, b"\r\n"]
            left -= len(head) + len(item.value) + 4
            if left < 0:
                return b"SERVER_ERROR too much for one reply: ask for fewer keys at once"
        for part in parts:
            connection.write(part)
        return b"END"

    def _stats(self, connection: Connection, words: list[bytes]) -> bytes:
        if len(words) > 1:
            return b"ERROR"
        now, counts = time.time(), self._store.counts
        table = {
            "pid": os.getpid(),
            "uptime": int(now - self._started),
            "time": int(now),
            "version": version("prefork-keyvalue"),
            "curr_connections": sum(1 for _ in connection.worker.connections),
            "cmd_get": counts["get_hits"] + counts["get_misses"],
            **{name: counts[name] for name in ("cmd_set", "get_hits", "get_misses")},
            "bytes": self._store.used,
            "curr_items": len(self._store),
            **{name: counts[name] for name in ("total_items", "evictions")},
            "limit_maxbytes": self._options.max_bytes,
            "threads": 1,
        }
        connection.write("".join(f"STAT {k} {v}\r\n" for k, v in table.items()).encode())
        return b"END"

    def _version(self, _connection: Connection, _words: list[bytes]) -> bytes:
        return b"VERSION " + version("prefork-keyvalue").encode()

    def _quit(self, connection: Connection, _words: list[bytes]) -> None:
        connection.close()

    # What is stored

    def _begin_to_store(self, connection: Connection, words: list[bytes]) -> bytes | None:
        """Collect the value, which follows as a block of a given length."""
        wanted = 6 if words[0] == b"cas" else 5
        if len(words) not in (wanted, wanted + 1):
            return b"ERROR"
        size = _number(words[4])
        if size < 0:
            raise BadRequestError(b"CLIENT_ERROR bad data chunk")
        too_large = size > self._options.max_item_bytes
        try:
            key, flags, exptime = _key(words[1]), _number(words[2]), _number(words[3])
            unique = _number(words[5]) if words[0] == b"cas" else 0
            if not 0 <= flags <= MAX_FLAGS:
                raise BadRequestError(BAD_FORMAT)
            if too_large:
                # The next one to read the key must not find what should have been replaced.
                self._store.delete(key, time.time())
                raise BadRequestError(b"SERVER_ERROR object too large for cache")
        except BadRequestError:
            # The value is on its way: taken for commands it would do what it says.
            session(connection).raw(lambda *_: None, size + 2)
            raise

        def store(connection: Connection, block: bytes) -> None:
            if block[size:] == b"\r\n":
                reply = self._put(words[0], (key, flags, block[:size], exptime), unique)
            else:
                reply = b"CLIENT_ERROR bad data chunk"
            _answer(connection, reply, words)

        session(connection).block(size + 2, store)
        return None

    def _put(self, command: bytes, item: tuple[bytes, int, bytes, int], unique: int) -> bytes:
        now, store = time.time(), self._store
        store.counts["cmd_set"] += 1
        there = None if command == b"set" else store.get(item[0], now)
        if (command == b"add" and there is not None) or (command == b"replace" and there is None):
            return b"NOT_STORED"
        if command == b"cas":
            if there is None:
                return b"NOT_FOUND"
            if there.version != unique:
                return b"EXISTS"
        store.put(*item, now)
        return b"STORED"

    def _count(self, _connection: Connection, words: list[bytes]) -> bytes:
        if len(words) not in (3, 4):
            return b"ERROR"
        key, delta = _key(words[1]), words[2]
        if not _is_counter(delta):
            raise BadRequestError(b"CLIENT_ERROR invalid numeric delta argument")
        item = self._store.get(key, time.time())
        if item is None:
            return b"NOT_FOUND"
        if not _is_counter(item.value):
            return b"CLIENT_ERROR cannot increment or decrement non-numeric value"
        if words[0] == b"incr":
            number = (int(item.value) + int(delta)) % COUNTER_LIMIT
        else:
            number = max(0, int(item.value) - int(delta))
        self._store.change(key, item, b"%d" % number)
        return b"%d" % number

    def _delete(self, _connection: Connection, words: list[bytes]) -> bytes:
        # Old clients send a time, which must be 0.
        rest = [word for word in words[2:] if word not in (b"0", b"noreply")]
        if len(words) < 2 or len(words) > 4:
            return b"ERROR"
        if rest:
            raise BadRequestError(BAD_FORMAT + b".  Usage: delete <key> [noreply]")
        return b"DELETED" if self._store.delete(_key(words[1]), time.time()) else b"NOT_FOUND"

    def _touch(self, _connection: Connection, words: list[bytes]) -> bytes:
        if len(words) not in (3, 4):
            return b"ERROR"
        key, exptime = _key(words[1]), _number(words[2], b"CLIENT_ERROR invalid exptime argument")
        return b"TOUCHED" if self._store.touch(key, exptime, time.time()) else b"NOT_FOUND"

    def _flush_all(self, _connection: Connection, words: list[bytes]) -> bytes:
        given = [word for word in words[1:] if word != b"noreply"]
        if len(given) > 1:
            return b"ERROR"
        self._store.flush(_number(given[0]) if given else 0, time.time())
        return b"OK"


def _answer(connection: Connection, reply: bytes | None, words: list[bytes]) -> None:
    """Send a reply, unless the client wants none."""
    if reply is None or (words and words[-1] == b"noreply" and words[0] not in (b"get", b"gets")):
        return
    connection.write(reply + b"\r\n")


def _key(word: bytes) -> bytes:
    if len(word) > MAX_KEY_BYTES:
        raise BadRequestError(BAD_FORMAT)
    return word


def _number(word: bytes, otherwise: bytes = BAD_FORMAT) -> int:
    """Return a number of at most 20 digits, as 64 bits can have, perhaps with a sign."""
    digits = word[1:] if word[:1] == b"-" else word
    if not digits.isdigit() or len(digits) > 20:
        raise BadRequestError(otherwise)
    return int(word)


def _is_counter(word: bytes) -> bool:
    return word.isdigit() and len(word) <= 20 and int(word) < COUNTER_LIMIT
