"""The selector of an asyncio event loop that waits by means of the host's loop."""

from __future__ import annotations

import functools
import selectors
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Protocol

from host.runtime.loop import READ, WRITE, Loop

Events = list[tuple[selectors.SelectorKey, int]]


class FileMapping(Mapping[Any, selectors.SelectorKey]):
    """The files that a selector watches, by descriptor or file object."""

    def __init__(self, keys: dict[int, selectors.SelectorKey]) -> None:
        self._keys = keys

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)

    def __getitem__(self, file: Any) -> selectors.SelectorKey:
        return self._keys[descriptor_of(file)]


class Turns(Protocol):
    """What the selector asks of its event loop."""

    def finish_turn(self) -> None:
        """End the turn of the host's loop in which asyncio's callbacks have run."""

    def take_turns(self) -> None:
        """Take turns until asyncio has anything to run."""


class HostSelector(selectors.BaseSelector):
    """Waits for files in turns of the host's loop, which has one epoll instance for everything.

    What `select` waits for are turns: in each of them the host handles its own connections, and it
    returns only when asyncio has something to do. A turn without that costs asyncio nothing.

    Args:
        loop: the host's loop; it is never closed here.
        turns: the event loop that this is the selector of.

    Attributes:
        noted: what has happened to which descriptor in this turn.
    """

    def __init__(self, loop: Loop, turns: Turns) -> None:
        self._loop, self._turns = loop, turns
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._mapping = FileMapping(self._keys)
        self.noted: dict[int, int] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch a file.

        Raises:
            ValueError: no such events, or no such file.
            KeyError: it is watched already.
            OSError: see `Loop.add`.
        """
        mask, fd = _mask(events), descriptor_of(fileobj)
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} (descriptor {fd}) is already registered")
        self._loop.add(fd, mask, functools.partial(self._note, fd))
        self._keys[fd] = key = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Stop watching a file, which may be closed already.

        Raises:
            KeyError: it is not watched.
        """
        fd = self._descriptor(fileobj)
        key = self._keys.pop(fd)
        self.noted.pop(fd, None)
        with suppress(OSError):  # closed before: the kernel has forgotten it
            self._loop.remove(fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch a file for something else, or with other data.

        Raises:
            ValueError: no such events.
            KeyError: it is not watched.
        """
        fd = self._descriptor(fileobj)
        key = self._keys[fd]
        if events != key.events:
            self._loop.modify(fd, _mask(events))
        self._keys[fd] = key = key._replace(events=events, data=data)
        return key

    def select(self, timeout: float | None = None) -> Events:
        """Take turns until asyncio has something to do; return what has happened to its files.

        Args:
            timeout: how long at most. It is not needed: the event loop knows better.
        """
        turns, noted = self._turns, self.noted
        turns.finish_turn()
        turns.take_turns()
        if not noted:
            return []
        keys = self._keys
        found = [
            (key, events)
            for fd, mask in noted.items()
            if (key := keys.get(fd)) and (events := _events(mask) & key.events)
        ]
        noted.clear()
        return found

    def close(self) -> None:
        """Watch nothing any more."""
        for fd in list(self._keys):
            self.unregister(fd)

    def get_map(self) -> FileMapping:
        """Return the files that are watched."""
        return self._mapping

    def _note(self, fd: int, mask: int) -> None:
        self.noted[fd] = mask

    def _descriptor(self, fileobj: Any) -> int:
        """Return the descriptor of a file that is watched, also of one that is closed."""
        try:
            return descriptor_of(fileobj)
        except ValueError:
            for key in self._keys.values():
                if key.fileobj is fileobj:
                    return key.fd
            raise KeyError(f"{fileobj!r} is not registered") from None


def descriptor_of(file: Any) -> int:
    """Return the descriptor of a file.

    Raises:
        ValueError: it has none.
    """
    try:
        fd = file if isinstance(file, int) else int(file.fileno())
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"Invalid file object: {file!r}") from None
    if fd < 0:
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd


def _mask(events: int) -> int:
    """Return what the host's loop watches a file for."""
    if not events or events & ~(selectors.EVENT_READ | selectors.EVENT_WRITE):
        raise ValueError(f"Invalid events: {events!r}")
    return (READ if events & selectors.EVENT_READ else 0) | (
        WRITE if events & selectors.EVENT_WRITE else 0
    )


def _events(mask: int) -> int:
    """Return what has happened, as asyncio sees it: an error or a hang-up is both of them."""
    return (selectors.EVENT_WRITE if mask & ~READ else 0) | (
        selectors.EVENT_READ if mask & ~WRITE else 0
    )
