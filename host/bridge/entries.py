"""Entries in the broker that have the name of one of the bus, and are somebody else's."""

from __future__ import annotations

from collections.abc import Callable, Iterable

_MOST = 20
"""So many are told of at a time: the first ones say what has happened."""


def foreign(prefix: str, name: bytes, kind: bytes) -> str:
    """Say that an entry is somebody else's, and what to do."""
    key, what = prefix + name.decode(errors="replace"), kind.decode(errors="replace")
    return (
        f"what is in the broker at {key} is no {what}, so somebody else has put it there: delete it"
        " (DEL), or choose another bus.namespace"
    )


class Entries:
    """Knows the entries of tables and topics that are somebody else's, over all connections.

    Args:
        prefix: how all keys begin.
        changed: called with the keys of all whenever that changes.
    """

    def __init__(self, prefix: str, changed: Callable[[Iterable[bytes]], object]) -> None:
        self._prefix, self._changed = prefix.encode(), changed
        self._kinds: dict[bytes, str] = {}

    @property
    def known(self) -> Iterable[tuple[bytes, str]]:
        """The name and kind of each; they are to be looked at again from time to time."""
        return self._kinds.items()

    def knows(self, name: bytes) -> bool:
        """Tell whether this one needs no look: it is known, or so many are that it makes none."""
        return name in self._kinds or len(self._kinds) >= _MOST

    def add(self, name: bytes, kind: str) -> None:
        """Take in one."""
        if not self.knows(name):
            self._kinds[name] = kind
            self.tell()

    def remove(self, name: bytes, _kind: str) -> None:
        """Forget one that can be used; harmless if it is not known."""
        if self._kinds.pop(name, None) is not None:
            self.tell()

    def tell(self) -> None:
        """Tell of all."""
        self._changed([self._prefix + name for name in self._kinds])
