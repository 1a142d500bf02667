"""Sets of IP networks, which are asked for each connection whether an address is among them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from ipaddress import ip_network
from socket import AF_INET, AF_INET6, inet_pton

_MAPPED = bytes(10) + b"\xff\xff"
"""How an IPv4 address begins that is written as one of IPv6 (RFC 4291, 2.5.5.2)."""


class Networks:
    """A set of networks.

    Args:
        texts: networks as `10.0.0.0/8` or `2001:db8::/32`, or single addresses.

    Raises:
        ValueError: one of them is no network, or has bits set behind its prefix.
    """

    __slots__ = ("_ends", "_starts")

    def __init__(self, texts: Iterable[str]) -> None:
        # Ranges of packed addresses, without overlaps and in order, by the length of an address.
        ranges: dict[int, list[tuple[bytes, bytes]]] = {4: [], 16: []}
        for text in texts:
            network = ip_network(text)
            first, last = network.network_address.packed, network.broadcast_address.packed
            ranges[len(first)].append((first, last))
        self._starts: dict[int, list[bytes]] = {}
        self._ends: dict[int, list[bytes]] = {}
        for length, found in ranges.items():
            starts: list[bytes] = []
            ends: list[bytes] = []
            self._starts[length], self._ends[length] = starts, ends
            for first, last in sorted(found):
                if ends and first <= ends[-1]:
                    ends[-1] = max(ends[-1], last)
                else:
                    starts.append(first)
                    ends.append(last)

    def __bool__(self) -> bool:
        return any(self._starts.values())

    def __contains__(self, host: str) -> bool:
        """Tell whether an IP address, as accept(2) or a PROXY header gives it, is in one of them.

        An IPv4 address in IPv6 notation counts as what it stands for.
        """
        return self.has(pack(host))

    def has(self, packed: bytes) -> bool:
        """Tell the same of what `pack` has returned."""
        starts = self._starts[len(packed)]
        place = bisect_right(starts, packed)
        return place > 0 and packed <= self._ends[len(packed)][place - 1]


def pack(host: str) -> bytes:
    """Return the 4 or 16 bytes of an IP address; a scope (`%eth0`) is left out.

    Raises:
        OSError: it is no IP address.
    """
    if ":" not in host:
        return inet_pton(AF_INET, host)
    packed = inet_pton(AF_INET6, host.partition("%")[0])
    return packed[12:] if packed.startswith(_MAPPED) else packed
