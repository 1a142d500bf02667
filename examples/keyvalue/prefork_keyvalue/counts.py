"""What is counted, by the names that `stats` shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Counts:
    """How often what has happened since the start, or since the last `stats reset`."""

    total_connections: int = 0
    cmd_set: int = 0
    cmd_flush: int = 0
    get_hits: int = 0
    get_misses: int = 0
    get_expired: int = 0
    delete_hits: int = 0
    delete_misses: int = 0
    incr_hits: int = 0
    incr_misses: int = 0
    decr_hits: int = 0
    decr_misses: int = 0
    cas_hits: int = 0
    cas_misses: int = 0
    cas_badval: int = 0
    touch_hits: int = 0
    touch_misses: int = 0
    store_too_large: int = 0
    conn_yields: int = 0
    total_items: int = 0
    evictions: int = 0
    reclaimed: int = 0

    def table(self) -> dict[str, int]:
        """Return all counts by their names."""
        return asdict(self)

    def reset(self) -> None:
        """Begin again with 0."""
        for name in self.__slots__:
            setattr(self, name, 0)
