"""Chooses the connections that a worker lists: those that are meant, or the first of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from host.control.selection import First, peer_filter, ranking
from host.interfaces import Listener
from host.worker.connection import SocketConnection

Matches = Callable[[SocketConnection], bool]

_VALUES: Mapping[str, Callable[[SocketConnection, float], object]] = {
    "age": lambda each, now: now - each.born,
    "idle": lambda each, now: now - each.last_active,
    "in": lambda each, _now: each.bytes_in,
    "out": lambda each, _now: each.bytes_out,
    "unsent": lambda each, _now: each.unsent,
    "peer": lambda each, _now: each.peer,
    "listener": lambda each, _now: each.listener.address,
    "worker": lambda each, _now: each.worker.slot,
}
"""What connections are put in order by, for each of the orders."""


def selected(
    connections: Iterable[SocketConnection], args: Mapping[str, Any], now: float
) -> Iterator[SocketConnection | None]:
    """Yield the connections that a list is to have; None for each look that has found none.

    An order costs a look at all of them before the first is yielded.

    Args:
        connections: those to choose from.
        args: `limit`, how many at most; and if they are given, `sort`, the name of an order, with
            `reverse`; `listener`, an address or, unless `whole` is set, a part of it; and `peer`,
            see `peer_filter`.
        now: the time, in seconds of the loop's clock.
    """
    matches = _filter(args)
    sort = args.get("sort")
    if sort is not None:
        return _first(connections, args, matches, now)
    if matches is None:
        return islice(iter(connections), args["limit"])
    return _matching(connections, args["limit"], matches)


def _matching(
    connections: Iterable[SocketConnection], limit: int, matches: Matches
) -> Iterator[SocketConnection | None]:
    for each in connections:
        if not matches(each):
            yield None
            continue
        yield each
        limit -= 1
        if not limit:
            return


def _first(
    connections: Iterable[SocketConnection],
    args: Mapping[str, Any],
    matches: Matches | None,
    now: float,
) -> Iterator[SocketConnection | None]:
    rank, value = ranking(args["sort"], reverse=args["reverse"]), _VALUES[args["sort"]]
    first = First[SocketConnection](args["limit"])
    for each in connections:
        if matches is None or matches(each):
            first.add(rank(value(each, now)), each)
        yield None
    last_first: list[SocketConnection] = []
    while first:
        last_first.append(first.take_last())
        yield None
    while last_first:
        yield last_first.pop()


def _filter(args: Mapping[str, Any]) -> Matches | None:
    """Return what tells whether a connection is meant; None if all are."""
    listener, peer = args.get("listener"), args.get("peer")
    is_listener = None if listener is None else _listener_filter(listener, args["whole"])
    if peer is None:
        if is_listener is None:
            return None
        return lambda each: is_listener(each.listener)
    is_peer = peer_filter(peer)
    if is_listener is None:
        return lambda each: is_peer(each.peer)
    return lambda each: is_listener(each.listener) and is_peer(each.peer)


def _listener_filter(text: str, whole: bool) -> Callable[[Listener], bool]:
    if whole:
        return lambda listener: listener.address == text
    return lambda listener: text in listener.address
