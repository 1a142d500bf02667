"""Says whose datagrams are taken at a UDP listener, and counts those that are not."""

from __future__ import annotations

import time
from collections.abc import Callable

from host.ipc.client_counts import ClientRow
from host.ipc.scoreboard import DENIED, RATE
from host.settings import Limits
from host.worker.access import AccessRules
from host.worker.client_limits import Places, Rate, rate_of

_SPACE = "udp"
"""Datagrams count apart from connections: a sender may be forged, and whoever forges one must not
keep that client from connecting. No listener's own space has this name, since it is an address."""


class DatagramAdmission:
    """Takes a datagram unless its sender may not send any, or has sent too many.

    Args:
        rules: the networks of the listener.
        rate: how many datagrams may come of one client; None for any number.
        row: the worker's row of the counts; None if there is no rate.
        add: counts a datagram that is refused, by the counter of the scoreboard for its cause.
        clock: the monotonic clock, in nanoseconds.
    """

    def __init__(
        self,
        rules: AccessRules,
        rate: Rate | None,
        row: ClientRow | None,
        add: Callable[[int], object],
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._rules, self._rate, self._row = rules, rate, row
        self._add, self._clock = add, clock

    @property
    def is_open(self) -> bool:
        """Whether all datagrams are taken, so that nobody has to ask."""
        return self._rules.is_open and self._rate is None

    def admits(self, host: str) -> bool:
        """Tell whether a datagram of this IP address is taken; it is counted."""
        if not self._rules.admits(host):
            self._add(DENIED)
            return False
        rate, row = self._rate, self._row
        if rate is None or row is None:
            return True
        place = rate.places.of_host(host)
        if row.arrive(place, rate.limit, self._clock(), rate.window):
            return True
        self._add(RATE)
        return False


def datagram_rate(limits: Limits, row: ClientRow | None) -> Rate | None:
    """Return how many datagrams may come of one client, at all UDP listeners; None for any number.

    Args:
        limits: the settings.
        row: the worker's row of the counts; None if nothing is limited.
    """
    if row is None or not limits.rate_per_client:
        return None
    prefixes = limits.client_prefix_v4, limits.client_prefix_v6
    return rate_of(limits, Places(row.secret, _SPACE, prefixes))
