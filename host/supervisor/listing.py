"""The list of open connections, made of what the workers tell: all, or the first in an order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple, Protocol

from host.control.commands import CommandError, shown
from host.control.replies import Written, write_items
from host.control.selection import ORDERS, First, peer_filter, ranking
from host.runtime.loop import Loop
from host.supervisor.workers.queries import Item

_SLICE = 200
"""How many are put in order in one turn, which takes 0.5 ms."""

Listed = Callable[[list[Written], bool], object]
"""Called with the list, and whether there are more connections than it has."""


class Wanted(NamedTuple):
    """What the command `connections` is to list, of whichever workers: its arguments."""

    limit: int
    sort: str | None
    reverse: bool
    listener: str | None
    peer: str | None


class Listing(Protocol):
    """A list that is being made."""

    def keep(self, items: list[Item]) -> list[Written]:
        """Take a part of a worker's answer; return what is to be kept of it."""

    def finish(self, answers: Iterable[list[Written]], listed: Listed) -> None:
        """Make the list of what was kept, at once or later; `listed` is called once."""


def question(wanted: Wanted, addresses: Collection[str]) -> dict[str, Any]:
    """Return what the workers are asked.

    Args:
        wanted: what is to be listed.
        addresses: the addresses of all listeners.

    Raises:
        CommandError: no listener is meant, or there is no such network.
    """
    # One more than wanted, to know whether there are more.
    asked: dict[str, Any] = {"limit": wanted.limit + 1}
    if wanted.sort is not None:
        asked |= {"sort": wanted.sort, "reverse": wanted.reverse}
    elif wanted.reverse:
        raise CommandError('"reverse" needs an order to turn around: "sort"')
    if wanted.listener is not None:
        if not any(wanted.listener in each for each in addresses):
            known = ", ".join(sorted(addresses))
            raise CommandError(f"no listener is {shown(wanted.listener)}; there is: {known}")
        # 127.0.0.1:70 is a part of 127.0.0.1:7000, too.
        asked |= {"listener": wanted.listener, "whole": wanted.listener in addresses}
    if wanted.peer is not None:
        try:
            peer_filter(wanted.peer)
        except ValueError as error:
            raise CommandError(f"no such network: {error}") from None
        asked["peer"] = wanted.peer
    return asked


def listing_of(wanted: Wanted, loop: Loop) -> Listing:
    """Return what makes the list that is wanted."""
    if wanted.sort is None:
        return _AsTheyCome(wanted.limit)
    return _InOrder(wanted.limit, wanted.sort, reverse=wanted.reverse, loop=loop)


class _AsTheyCome:
    """All that the workers tell, until there is no room for more."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    def keep(self, items: list[Item]) -> list[Written]:
        """Take a part of a worker's answer; return what is to be kept of it."""
        return write_items(items)

    def finish(self, answers: Iterable[list[Written]], listed: Listed) -> None:
        """Make the list of what was kept."""
        found: list[Written] = []
        room = self._limit
        for some in itertools.chain.from_iterable(answers):
            if room > 0:
                found += [some] if some.count <= room else some.first(room)
            room -= some.count
        listed(found, room < 0)


class _InOrder:
    """The first of all that the workers tell; no more than these are kept, whoever tells them.

    Args:
        limit: how many they are at most.
        sort: the name of an order.
        reverse: whether it is turned around.
        loop: has the list put in order over several turns: 100,000 take 0.3 s.
    """

    def __init__(self, limit: int, sort: str, *, reverse: bool, loop: Loop) -> None:
        self._loop, self._limit, self._told = loop, limit, 0
        self._field, self._rank = ORDERS[sort].field, ranking(sort, reverse=reverse)
        self._first = First[Written](limit)
        self._last_first: list[Written] = []

    def keep(self, items: list[Item]) -> list[Written]:
        """Take a part of a worker's answer; nothing else is to be kept of it."""
        self._told += len(items)
        for item in items:
            rank = self._rank(item.get(self._field))
            if self._first.takes(rank):
                self._first.add(rank, *write_items([item]))
        return []

    def finish(self, _answers: Iterable[list[Written]], listed: Listed) -> None:
        """Put what was kept in order, a slice in each turn."""
        for _ in range(min(_SLICE, len(self._first))):
            self._last_first.append(self._first.take_last())
        if self._first:
            self._loop.call_from_thread(lambda: self.finish((), listed))
        else:
            self._last_first.reverse()
            listed(self._last_first, self._told > self._limit)
