"""How many connections one client may have, and how many may come of it in a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import blake2s
from typing import NamedTuple

from host.ipc.client_counts import SECRET_BYTES, TABLE, ClientRow, Place
from host.ipc.scoreboard import PER_CLIENT, RATE
from host.net.networks import pack
from host.settings import Limits, Listen


class Places:
    """Where clients count: a keyed hash of an address's network, or of a user.

    Args:
        secret: the key of the hash.
        space: what they are counted for; a client counts somewhere else in each space.
        prefixes: how many bits of an IPv4 and of an IPv6 address tell one client from another.
    """

    def __init__(self, secret: bytes, space: str, prefixes: tuple[int, int]) -> None:
        assert len(secret) == SECRET_BYTES
        start = blake2s(space.encode() + b"\0", key=secret, digest_size=4)
        self._of_user = start.copy()
        self._of_user.update(b"uid")
        # By the length of an address: the hash so far, how many bytes count, and bits of the last.
        self._of_network = {}
        for length, prefix in zip((4, 16), prefixes, strict=True):
            begun = start.copy()
            begun.update(length.to_bytes())
            self._of_network[length] = (
                begun,
                -(-prefix // 8),
                0xFF00 >> ((prefix - 1) % 8 + 1) & 0xFF,
            )

    def of_host(self, host: str) -> Place:
        """Return the place of a client with this IP address."""
        packed = pack(host)
        begun, size, bits = self._of_network[len(packed)]
        network = packed[:size]
        if bits != 0xFF:
            network = network[:-1] + bytes((network[-1] & bits,))
        whole = begun.copy()
        whole.update(network)
        return _place(whole.digest())

    def of_user(self, uid: int) -> Place:
        """Return the place of the processes of a user."""
        whole = self._of_user.copy()
        whole.update(uid.to_bytes(8, signed=True))
        return _place(whole.digest())


def _place(digest: bytes) -> Place:
    return int.from_bytes(digest[:2]), TABLE + int.from_bytes(digest[2:])


class Rate(NamedTuple):
    """How many connections, or datagrams, of one client may come.

    Attributes:
        places: where clients count for it.
        limit: how many in a window of time.
        window: how long that is, in nanoseconds.
    """

    places: Places
    limit: int
    window: int


class ClientLimit:
    """What one client may have and do at one listener.

    Args:
        row: the worker's row of the counts.
        places: where clients count.
        limit: how many connections one client may have; 0 for any number.
        rate: how many may come of it; None for any number.
        by_uid: whether the processes of a user that connect to a Unix socket are one client;
            otherwise any number of them may.
        clock: the monotonic clock, in nanoseconds.
    """

    def __init__(
        self,
        row: ClientRow,
        places: Places,
        limit: int,
        rate: Rate | None,
        *,
        by_uid: bool = False,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._row, self._places, self._limit, self._rate = row, places, limit, rate
        self._clock, self.by_uid = clock, by_uid
        self._held: dict[int, Place] = {}

    def refusal(self, fd: int, client: str | int) -> int | None:
        """Count a connection, unless its client has as many as it may.

        Args:
            fd: its descriptor. Unless it is refused, it is to be closed by what `closing` returns.
            client: the IP address of its client, or the number of a user.

        Returns:
            The counter of the scoreboard for this kind of refusal, or None if it may come in.
        """
        place: Place | None = None
        if self._limit:
            place = self._place(self._places, client)
            if not self._row.add(place, self._limit):
                return PER_CLIENT
        rate = self._rate
        if rate is not None:
            where = self._place(rate.places, client)
            if not self._row.arrive(where, rate.limit, self._clock(), rate.window):
                if place is not None:
                    self._row.remove(place)
                return RATE
        if place is not None:
            self._held[fd] = place
        return None

    def closing(self, close: Callable[[int], None]) -> Callable[[int], None]:
        """Return what closes a descriptor: it counts one connection less, and calls `close`."""
        if not self._limit:
            return close
        held, remove = self._held, self._row.remove

        def close_and_count(fd: int) -> None:
            place = held.pop(fd, None)
            if place is not None:  # some are not counted: those of a proxy itself
                remove(place)
            close(fd)

        return close_and_count

    def why(self, cause: int, client: str | int) -> str:
        """Say why a connection was refused."""
        who = f"user {client}" if isinstance(client, int) else client
        if cause == PER_CLIENT:
            return f"{who} has {self._limit} connections, as many as it may (max_per_client)"
        return f"more connections of {who} come than may (rate_per_client)"

    @staticmethod
    def _place(places: Places, client: str | int) -> Place:
        return places.of_user(client) if isinstance(client, int) else places.of_host(client)


def rate_of(limits: Limits, places: Places) -> Rate:
    """Return how many may come of one client, by `rate_per_client`, which is set."""
    burst = limits.burst_per_client or max(1, round(limits.rate_per_client))
    return Rate(places, burst, round(burst / limits.rate_per_client * 1e9))


def client_limit(limits: Limits, listen: Listen, row: ClientRow) -> ClientLimit | None:
    """Return what a client may do at a listener of connections; None if it may do anything.

    A listener with a limit of its own counts its clients by itself; all others count together.
    """
    if listen.parsed.is_udp or not limits.concern_clients_of(listen):
        return None
    prefixes = limits.client_prefix_v4, limits.client_prefix_v6
    common = Places(row.secret, "", prefixes)
    places = common
    if listen.max_per_client >= 0:
        places = Places(row.secret, str(listen.parsed), prefixes)
    rate = rate_of(limits, common) if limits.rate_per_client else None
    return ClientLimit(
        row, places, limits.connections_per_client(listen), rate, by_uid=limits.client_uid
    )
