"""The commands on keys of any kind, and on lists."""

from __future__ import annotations

from itertools import islice

from prefork_resp.replies import (
    OK,
    OUT_OF_MEMORY,
    SYNTAX,
    WRONG_TYPE,
    CommandError,
    array,
    bulk,
    integer,
    shown_of,
)
from prefork_resp.session import ANY_NUMBER, Command, Session, Table, Words
from prefork_resp.store import Items, Store
from prefork_resp.strings import expiry, number

_CONDITIONS = (b"NX", b"XX", b"GT", b"LT")
_EMPTY = array([])


class Keys:
    """The commands.

    Args:
        store: where the keys are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def table(self) -> Table:
        """Return the commands by their names."""
        return {
            b"DEL": Command(2, ANY_NUMBER, self._del, keys=-1),
            b"EXISTS": Command(2, ANY_NUMBER, self._exists, keys=-1),
            b"TYPE": Command(2, 2, self._type, keys=1),
            b"EXPIRE": Command(3, ANY_NUMBER, lambda _, words: self._expire(words, 1000), keys=1),
            b"PEXPIRE": Command(3, ANY_NUMBER, lambda _, words: self._expire(words, 1), keys=1),
            b"TTL": Command(2, 2, self._ttl, keys=1),
            b"PTTL": Command(2, 2, self._pttl, keys=1),
            b"DBSIZE": Command(1, 1, lambda *_: integer(len(self._store))),
            b"FLUSHALL": Command(1, ANY_NUMBER, self._flushall),
            b"LPUSH": Command(3, ANY_NUMBER, self._lpush, keys=1),
            b"RPUSH": Command(3, ANY_NUMBER, self._rpush, keys=1),
            b"LLEN": Command(2, 2, self._llen, keys=1),
            b"LRANGE": Command(4, 4, self._lrange, keys=1),
        }

    def _del(self, _session: Session, words: Words) -> bytes:
        store = self._store
        return integer(sum(store.find(key) is not None and store.delete(key) for key in words[1:]))

    def _exists(self, _session: Session, words: Words) -> bytes:
        return integer(sum(self._store.find(key) is not None for key in words[1:]))

    def _type(self, _session: Session, words: Words) -> bytes:
        value = self._store.find(words[1])
        if value is None:
            return b"+none\r\n"
        return b"+list\r\n" if isinstance(value, Items) else b"+string\r\n"

    def _expire(self, words: Words, milliseconds: int) -> bytes:
        """Let a key expire, unless an option forbids it.

        Args:
            words: the request.
            milliseconds: how many the unit of the command has.
        """
        store, key = self._store, words[1]
        conditions = _conditions(words[3:])
        count, now = number(words[2]), store.now()
        when = expiry(words[0].lower(), count, milliseconds, now)
        if store.find(key) is None:
            return integer(0)
        old = store.expires.get(key)
        if (
            (b"NX" in conditions and old is not None)
            or (b"XX" in conditions and old is None)
            or (b"GT" in conditions and (old is None or when <= old))
            or (b"LT" in conditions and old is not None and when >= old)
        ):
            return integer(0)
        if when <= now:
            store.delete(key)
        else:
            store.expires[key] = when
        return integer(1)

    def _ttl(self, _session: Session, words: Words) -> bytes:
        left = self._left(words[1])
        return integer(left if left < 0 else (left + 500) // 1000)

    def _pttl(self, _session: Session, words: Words) -> bytes:
        return integer(self._left(words[1]))

    def _left(self, key: bytes) -> int:
        """Return how many milliseconds a key has left; -1 without an expiry, -2 without a key."""
        store = self._store
        if store.find(key) is None:
            return -2
        return max(store.expires[key] - store.now(), 0) if key in store.expires else -1

    def _flushall(self, _session: Session, words: Words) -> bytes:
        if len(words) > 2 or (len(words) == 2 and words[1].upper() not in (b"SYNC", b"ASYNC")):
            raise CommandError(SYNTAX)
        self._store.clear()
        return OK

    def _lpush(self, _session: Session, words: Words) -> bytes:
        items = self._list_for(words[1])
        if len(words) == 3:  # as most often, and quicker
            items.appendleft(words[2])
            self._store.count_elements(items, 1, len(words[2]))
        else:
            items.extendleft(words[2:])
            self._store.count_elements(items, len(words) - 2, sum(map(len, words[2:])))
        return b":%d\r\n" % len(items)

    def _rpush(self, _session: Session, words: Words) -> bytes:
        items = self._list_for(words[1])
        items.extend(words[2:])
        self._store.count_elements(items, len(words) - 2, sum(map(len, words[2:])))
        return integer(len(items))

    def _list_for(self, key: bytes) -> Items:
        """Return the list under a key, which gets one if there is nothing.

        Raises:
            CommandError: there is no room, or something else is under the key.
        """
        store = self._store
        if store.room < 0:
            raise CommandError(OUT_OF_MEMORY)
        found = store.values.get(key)
        if type(found) is Items and key not in store.expires:
            return found
        items = self._list(key)
        return store.begin_list(key) if items is None else items

    def _llen(self, _session: Session, words: Words) -> bytes:
        items = self._list(words[1])
        return integer(0 if items is None else len(items))

    def _lrange(self, session: Session, words: Words) -> bytes:
        first, last = number(words[2]), number(words[3])
        items = self._list(words[1])
        if items is None:
            return _EMPTY
        size = len(items)
        first = max(first + size, 0) if first < 0 else first
        last = last + size if last < 0 else min(last, size - 1)
        if first > last:
            return _EMPTY
        session.pause()  # it may be large
        return array(list(map(bulk, islice(items, first, last + 1))))

    def _list(self, key: bytes) -> Items | None:
        """Return the list under a key, if any.

        Raises:
            CommandError: it is no list.
        """
        value = self._store.find(key)
        if value is None or isinstance(value, Items):
            return value
        raise CommandError(WRONG_TYPE)


def _conditions(words: Words) -> set[bytes]:
    """Return the options of EXPIRE.

    Raises:
        CommandError: a word is none, or does not go with the others.
    """
    found = set()
    for word in words:
        name = word.upper()
        if name not in _CONDITIONS:
            raise CommandError(b"ERR Unsupported option %b" % shown_of(word))
        found.add(name)
    if b"NX" in found and len(found) > 1:
        what = b"NX and XX, GT or LT"
    elif {b"GT", b"LT"} <= found:
        what = b"GT and LT"
    else:
        return found
    raise CommandError(b"ERR %b options at the same time are not compatible" % what)
