"""Round-robin: every worker in turn, each listener with a turn of its own."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter

from host import Listener, WorkerView, hookimpl

_SLOT = attrgetter("slot")


class RoundRobin:
    """Take the candidate that follows the last one taken, in the order of slots.

    It remembers a slot and not a place in the sequence, so that a worker that is no candidate
    for a while loses its turns and nothing else changes. The first turn of listener k goes
    to the k-th candidate: with many listeners the low slots would else get a little more.
    """

    def __init__(self) -> None:
        self._last: dict[int, int] = {}

    @hookimpl(trylast=True)
    def choose_worker(self, listener: Listener, workers: Sequence[WorkerView]) -> WorkerView:
        """Return the first candidate beyond the last slot taken, or the lowest."""
        last = self._last.get(listener.index)
        if last is None:
            chosen = workers[listener.index % len(workers)]
        else:
            chosen = workers[bisect_right(workers, last, key=_SLOT) % len(workers)]
        self._last[listener.index] = chosen.slot
        return chosen
