"""How many descriptors and connections a process of the host may have."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping
from contextlib import suppress

from host.errors import LimitsError
from host.settings import Limits, PoolSettings

RESERVED_DESCRIPTORS = 24
"""What a process of the host needs besides connections and listeners, with room for plugins."""


def raise_descriptor_limit(needed: int) -> int:
    """Raise RLIMIT_NOFILE (getrlimit(2)) as far as needed and allowed; return what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = needed
    if soft < needed:
        with suppress(ValueError, OSError):  # only with CAP_SYS_RESOURCE, and up to fs.nr_open
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, hard)))
            return needed
        soft = min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def pool_descriptors(pools: Mapping[str, PoolSettings]) -> int:
    """Return how many descriptors a worker needs for its pools.

    Each process has two: its socket and its pid. Each pool may start one while another ends.
    """
    sizes = [each.size for each in pools.values() if each.kind == "processes"]
    return 2 * sum(size + 1 for size in sizes) + 2 if sizes else 0


def max_connections(
    limits: Limits, others: int, raise_limit: Callable[[int], int] = raise_descriptor_limit
) -> int:
    """Return how many connections a worker may hold; raise the descriptor limit if need be.

    Args:
        limits: what the settings say.
        others: how many descriptors are needed for sockets of listeners and for pools.
        raise_limit: raises the limit of descriptors; `raise_descriptor_limit` if left out.

    Raises:
        LimitsError: the settings ask for more descriptors than this process may have. A default
            asks for nothing: it is lowered.
    """
    wanted, reserved = limits.max_connections_per_worker, RESERVED_DESCRIPTORS + others
    allowed = raise_limit(wanted + reserved)
    room = allowed - reserved
    if room >= wanted:
        return wanted
    default: int = Limits.model_fields["max_connections_per_worker"].default
    if wanted != default or room < 1:
        raise LimitsError(
            f"limits.max_connections_per_worker = {wanted} needs {wanted + reserved} file "
            f"descriptors, and this process may have {allowed}: raise RLIMIT_NOFILE (ulimit -n, "
            f"or LimitNOFILE= of a service) or set it to {max(room, 1)} at most"
        )
    return room
