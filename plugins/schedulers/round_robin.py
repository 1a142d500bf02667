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
        self._last: dict[int, int] = {}  # the slot taken last, by listener
        self._workers: Sequence[WorkerView] = ()
        self._next: dict[int, WorkerView] = {}  # by slot, who follows it in `_workers`

    @hookimpl(trylast=True)
    def choose_worker(self, listener: Listener, workers: Sequence[WorkerView]) -> WorkerView:
        """Return the first candidate beyond the last slot taken, or the lowest."""
        index, last = listener.index, self._last
        if workers is self._workers:  # nearly always: the candidates are the same for many passes
            try:
                chosen = self._next[last[index]]
            except KeyError:
                chosen = self._find(index, workers)
        else:
            self._workers = workers if type(workers) is tuple else ()
            self._next = {}
            chosen = self._find(index, workers)
        last[index] = chosen.slot
        return chosen

    def _find(self, index: int, workers: Sequence[WorkerView]) -> WorkerView:
        """Find out who is next, and remember it for as long as the candidates stay the same."""
        last = self._last.get(index)
        if last is None:
            return workers[index % len(workers)]
        chosen = workers[bisect_right(workers, last, key=_SLOT) % len(workers)]
        self._next[last] = chosen
        return chosen
