"""The commands on strings: GET, SET, and those that count."""

from __future__ import annotations

from typing import NamedTuple

from prefork_resp.replies import (
    NOT_AN_INTEGER,
    OK,
    OUT_OF_MEMORY,
    SYNTAX,
    WRONG_TYPE,
    CommandError,
    error,
    integer,
)
from prefork_resp.session import ANY_NUMBER, Command, Session, Table, Words
from prefork_resp.store import Items, Store, Value

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
_LARGE_BYTES = 16_384
"""From which size on a reply is sent before the next request is answered."""
_UNITS = {b"EX": (1000, 0), b"PX": (1, 0), b"EXAT": (1000, 1), b"PXAT": (1, 1)}
"""The options of SET with a time: its milliseconds, and whether it counts from the epoch."""


def number(word: bytes) -> int:
    """Return a number of 64 bits that is written in the one way in which Redis writes it.

    Raises:
        CommandError: it is none.
    """
    if len(word) <= 20:
        try:
            found = int(word)
        except ValueError:
            raise CommandError(NOT_AN_INTEGER) from None
        if MIN_INTEGER <= found <= MAX_INTEGER and b"%d" % found == word:
            return found
    raise CommandError(NOT_AN_INTEGER)


def expiry(command: bytes, count: int, milliseconds: int, now: int) -> int:
    """Return when a key expires, in milliseconds since the epoch.

    Args:
        command: the name of the command, for the error.
        count: how long from `now`, in units.
        milliseconds: how many a unit has.
        now: in milliseconds since the epoch; 0 if `count` is.

    Raises:
        CommandError: there is no such time.
    """
    when = count * milliseconds + now
    if MIN_INTEGER <= count * milliseconds <= MAX_INTEGER and when <= MAX_INTEGER:
        return when
    raise CommandError(b"ERR invalid expire time in '%b' command" % command)


_OUT_OF_MEMORY, _WRONG_TYPE = error(OUT_OF_MEMORY), error(WRONG_TYPE)


class _Options(NamedTuple):
    """The options of SET.

    Attributes:
        only: NX, XX, or nothing.
        gets: whether the old value is the reply.
        keeps: whether the expiry stays.
        count: how long the key is to stay, or until when, None for ever.
        unit: one of `_UNITS`.
    """

    only: bytes
    gets: bool
    keeps: bool
    count: bytes | None
    unit: bytes


class Strings:
    """The commands.

    Args:
        store: where the strings are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def table(self) -> Table:
        """Return the commands by their names."""
        return {
            b"GET": Command(2, 2, self._get, keys=1),
            b"SET": Command(3, ANY_NUMBER, self._set, keys=1),
            b"INCR": Command(2, 2, lambda _, words: self._count(words[1], 1), keys=1),
            b"DECR": Command(2, 2, lambda _, words: self._count(words[1], -1), keys=1),
            b"INCRBY": Command(3, 3, self._incrby, keys=1),
            b"DECRBY": Command(3, 3, self._decrby, keys=1),
        }

    def _get(self, session: Session, words: Words) -> bytes:
        value = self._store.find(words[1])
        return session.null if value is None else _string(session, value)

    def _set(self, session: Session, words: Words) -> bytes:
        store = self._store
        if store.room < 0:
            return _OUT_OF_MEMORY
        if len(words) > 3:
            return self._set_with(session, words, _options(words))
        store.put(words[1], words[2])
        if store.expires:
            store.expires.pop(words[1], None)
        return OK

    def _set_with(self, session: Session, words: Words, options: _Options) -> bytes:
        store, key, when = self._store, words[1], None
        if options.count is not None:
            milliseconds, is_absolute = _UNITS[options.unit]
            count = number(options.count)
            if count <= 0:
                raise CommandError(b"ERR invalid expire time in 'set' command")
            when = expiry(b"set", count, milliseconds, 0 if is_absolute else store.now())
        old, reply = store.find(key), OK
        if options.gets:
            reply = session.null if old is None else _string(session, old)
            if isinstance(old, Items):
                return reply
        if options.only and (old is None) == (options.only == b"XX"):
            return reply if options.gets else session.null
        store.put(key, words[2])
        if when is not None:
            store.expires[key] = when
        elif not options.keeps:
            store.expires.pop(key, None)
        return reply

    def _incrby(self, _session: Session, words: Words) -> bytes:
        return self._count(words[1], number(words[2]))

    def _decrby(self, _session: Session, words: Words) -> bytes:
        by = number(words[2])
        if by == MIN_INTEGER:
            raise CommandError(b"ERR decrement would overflow")
        return self._count(words[1], -by)

    def _count(self, key: bytes, by: int) -> bytes:
        """Add to the number under a key."""
        store = self._store
        if store.room < 0:
            return _OUT_OF_MEMORY
        value = store.find(key)
        if type(value) is int:
            old = value
        elif isinstance(value, Items):
            raise CommandError(WRONG_TYPE)
        else:
            old = 0 if value is None else number(value)
            store.put(key, old)
        new = old + by
        if not MIN_INTEGER <= new <= MAX_INTEGER:
            raise CommandError(b"ERR increment or decrement would overflow")
        store.values[key] = new  # numbers take the same room
        return integer(new)


def _options(words: Words) -> _Options:
    """Return the options of SET.

    Raises:
        CommandError: a word is none, or does not go with the others.
    """
    only = unit = b""
    gets = keeps = False
    count = None
    rest = iter(words[3:])
    for word in rest:
        name = word.upper()
        if name in (b"NX", b"XX") and only in (b"", name):
            only = name
        elif name == b"GET":
            gets = True
        elif name == b"KEEPTTL" and not unit:
            keeps = True
        elif name in _UNITS and not keeps and unit in (b"", name):
            unit, count = name, next(rest, None)
            if count is None:
                raise CommandError(SYNTAX)
        else:
            raise CommandError(SYNTAX)
    return _Options(only, gets, keeps, count, unit)


def _string(session: Session, value: Value) -> bytes:
    """Return a string as a reply, or the error that it is none."""
    if type(value) is int:
        value = b"%d" % value
    elif type(value) is not bytes:
        return _WRONG_TYPE
    size = len(value)
    if size > _LARGE_BYTES:
        session.pause()
    return b"$%d\r\n%b\r\n" % (size, value)
