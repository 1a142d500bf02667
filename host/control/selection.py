"""Which open connections a list has, and which of them come first.

The command asks for it, each worker chooses among its own connections, and the supervisor among
those that the workers have chosen.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from ipaddress import ip_network
from itertools import count
from typing import Generic, NamedTuple, TypeVar

from host.net.networks import Networks, pack

T = TypeVar("T")

_TEXT_BYTES = 128
"""How much of a text counts in an order: the address of a Unix socket has 112 bytes at most."""
_IPV6_FROM, _OTHERS_FROM = 1 << 48, 1 << 160
"""Ranks of peers: IPv4 addresses with their ports, then those of IPv6, then all other texts."""


class Order(NamedTuple):
    """An order of connections.

    Attributes:
        field: what they are put in order by: a field of a described connection.
        largest_first: whether the largest comes first, where nobody wants it the other way round.
    """

    field: str
    largest_first: bool


ORDERS = {
    "age": Order("age_seconds", True),
    "idle": Order("idle_seconds", True),
    "in": Order("bytes_in", True),
    "out": Order("bytes_out", True),
    "unsent": Order("unsent_bytes", True),
    "peer": Order("peer", False),
    "listener": Order("listener", False),
    "worker": Order("slot", False),
}
"""The orders there are, by name."""


def ranking(name: str, *, reverse: bool) -> Callable[[object], float]:
    """Return what makes a rank of a value of the field: the lowest rank comes first.

    Ranks are numbers also for texts, so that they can be negated. Of peers the addresses count as
    numbers: 10.0.0.9 comes before 10.0.0.10. A value of any other type is as good as 0.

    Args:
        name: one of `ORDERS`.
        reverse: whether the first come last.
    """
    of_text = _peer_rank if name == "peer" else _text_rank
    sign = -1 if ORDERS[name].largest_first != reverse else 1

    def rank(value: object) -> float:
        if isinstance(value, int | float):
            return sign * value
        return sign * of_text(value) if isinstance(value, str) else 0

    return rank


def _text_rank(text: str) -> int:
    raw = text.encode("utf-8", "replace")[:_TEXT_BYTES]
    return int.from_bytes(raw.ljust(_TEXT_BYTES, b"\0"))


def _peer_rank(peer: str) -> int:
    found = split_peer(peer)
    if found is None:
        return _OTHERS_FROM + _text_rank(peer)
    packed, port = found
    return (int.from_bytes(packed) << 16) + port + (_IPV6_FROM if len(packed) > 4 else 0)


def split_peer(peer: str) -> tuple[bytes, int] | None:
    """Return address and port of `127.0.0.1:50211` or `[::1]:50211`; None for any other text.

    A client of IPv4 that an IPv6 socket has accepted counts as one of IPv4.
    """
    host, _, port = peer.rpartition(":")
    if (":" in host and not host.startswith("[")) or not (port.isascii() and port.isdecimal()):
        return None
    packed = _packed(host)
    return None if packed is None else (packed, int(port))


def _packed(host: str) -> bytes | None:
    """Return the bytes of an address, in brackets or not; None if it is none."""
    try:
        return pack(host.removeprefix("[").removesuffix("]"))
    except (OSError, ValueError):
        return None


def peer_filter(text: str) -> Callable[[str], bool]:
    """Return what tells whether a peer is meant.

    Args:
        text: a network such as 10.0.0.0/8, an address, a peer with its port, or else any part of
            what is shown of a peer.

    Raises:
        ValueError: it has a slash and is no network.
    """
    if "/" in text:
        networks = Networks([str(ip_network(text, strict=False))])
        return lambda peer: (found := split_peer(peer)) is not None and networks.has(found[0])
    if (exact := split_peer(text)) is not None:
        return lambda peer: split_peer(peer) == exact
    if (address := _packed(text)) is not None:
        return lambda peer: (found := split_peer(peer)) is not None and found[0] == address
    return lambda peer: text in peer


class First(Generic[T]):
    """Keeps those of many things that come first, and forgets all others.

    Args:
        most: how many it keeps at most.
    """

    def __init__(self, most: int) -> None:
        self._most, self._serial = most, count()
        self._worst_first: list[tuple[float, int, T]] = []

    def __len__(self) -> int:
        return len(self._worst_first)

    def takes(self, rank: float) -> bool:
        """Tell whether a thing of this rank would be kept."""
        return len(self._worst_first) < self._most or -rank > self._worst_first[0][0]

    def add(self, rank: float, thing: T) -> None:
        """Keep a thing if it belongs to the first; of equal ones those that were added first do."""
        entry = (-rank, -next(self._serial), thing)
        if len(self._worst_first) < self._most:
            heapq.heappush(self._worst_first, entry)
        else:
            heapq.heappushpop(self._worst_first, entry)

    def take_last(self) -> T:
        """Take out the one of all that comes last, and return it.

        Raises:
            IndexError: nothing is left.
        """
        return heapq.heappop(self._worst_first)[2]
