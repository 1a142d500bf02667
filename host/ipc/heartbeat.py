"""Tells which workers hang, from what the scoreboard shows of their loops. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

BEAT_SECONDS = 1.0
"""How often an idle worker's loop turns, and the supervisor looks, at the least."""
_SHORTEST_NAP = 0.1
_BEATS = 4


def beat_seconds(hang_seconds: float) -> float:
    """Return how often a loop shall turn that is found to hang after `hang_seconds`."""
    return min(BEAT_SECONDS, hang_seconds / _BEATS)


class Reading(NamedTuple):
    """What the scoreboard shows of one worker's loop.

    Attributes:
        pid: the worker's process id.
        started: when the present turn began, in nanoseconds of the monotonic clock; 0 for none.
        lasted: how long the turn before took, in nanoseconds.
    """

    pid: int
    started: int
    lasted: int


class HangDetector:
    """Remembers since when each worker's loop has not turned.

    A loop that turns shows it: each turn has its own start, and its own length in nanoseconds. The
    time in which nobody looked does not count against the workers: if the supervisor itself
    got no CPU or was stopped, so were they, perhaps.

    Args:
        hang_seconds: how long a loop may go without a turn; 0 for any time.
    """

    def __init__(self, hang_seconds: float) -> None:
        self._limit = hang_seconds
        self._longest_nap = beat_seconds(hang_seconds)
        self._seen: dict[int, tuple[int, int]] = {}
        self._since: dict[int, float] = {}
        self._looked: float | None = None

    def look(self, readings: Iterable[Reading], now: float) -> list[tuple[int, float]]:
        """Return who hangs, by pid, and for how many seconds each."""
        if not self._limit:
            return []
        before = now if self._looked is None else self._looked
        missed = now - before > 3 * self._longest_nap
        self._looked = now
        seen, since, hung = {}, {}, []
        for reading in readings:
            pid, shown = reading.pid, (reading.started, reading.lasted)
            if missed:
                began = now
            elif self._seen.get(pid) == shown:
                began = self._since[pid]
            else:
                # When it has waited since a turn, that ended at some time since the last look.
                began = min(max(reading.started / 1e9, before), now)
            seen[pid], since[pid] = shown, began
            if now - began >= self._limit:
                hung.append((pid, now - began))
        self._seen, self._since = seen, since
        return hung

    def next_look(self, now: float) -> float | None:
        """Return when to look again, or None for never."""
        if not self._limit:
            return None
        due = min(self._since.values(), default=now) + self._limit
        return min(max(due, now + _SHORTEST_NAP), now + self._longest_nap)
