"""Tells which workers hang, from what the scoreboard shows of their loops. No I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from host.ipc.heartbeat import beat_seconds

_SHORTEST_NAP = 0.1
_LONGEST_NAP = 0.5
"""How often the supervisor looks at the least: so much later is a call seen that does not end."""
_LOOKS = 8


class Reading(NamedTuple):
    """What the scoreboard shows of one worker's loop.

    Attributes:
        pid: the worker's process id.
        started: when the present turn began, in nanoseconds of the monotonic clock; 0 for none.
        lasted: how long the turn before took, in nanoseconds.
        call: what is being called in it, as `host.ipc.current_call` packs it; 0 for nothing.
    """

    pid: int
    started: int
    lasted: int
    call: int


class HangDetector:
    """Remembers since when each worker has not got on.

    A loop that turns shows it: each turn has its own start, and its own length in nanoseconds. So
    does a turn in which one plugin is called after the other: the word for the call changes. A
    worker that shows the same at each look hangs. It may be in another call that has the same
    word, since one connection can be called twice in a turn; but not at every look, as a turn
    does not call one connection again and again.

    Since when a call lasts is not written anywhere: it counts from the look that saw it first, so
    that no call is found to hang before it has lasted for `hang_seconds`. The time in which nobody
    looked does not count against the workers: if the supervisor itself got no CPU or was stopped,
    so were they, perhaps.

    Args:
        hang_seconds: how long a loop may go without a turn and without another call; 0 for any
            time.
    """

    def __init__(self, hang_seconds: float) -> None:
        self._limit = hang_seconds
        self._longest_nap = min(_LONGEST_NAP, hang_seconds / _LOOKS)
        self._seen: dict[int, Reading] = {}
        self._since: dict[int, float] = {}
        self._looked: float | None = None

    def look(self, readings: Iterable[Reading], now: float) -> list[tuple[int, float]]:
        """Return who hangs, by pid, and for how many seconds each."""
        if not self._limit:
            return []
        before = now if self._looked is None else self._looked
        missed = now - before > 3 * beat_seconds(self._limit)
        self._looked = now
        seen, since, hung = {}, {}, []
        for reading in readings:
            pid = reading.pid
            if self._seen.get(pid) == reading and not missed:
                began = self._since[pid]
            elif missed or reading.call:
                began = now
            else:
                # When it has waited since a turn, that ended at some time since the last look.
                began = min(max(reading.started / 1e9, before), now)
            seen[pid], since[pid] = reading, began
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
