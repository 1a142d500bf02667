"""Whose turn it is among those with the least load."""

from __future__ import annotations

from collections.abc import Sequence

from host import WorkerView


def next_of_least(workers: Sequence[WorkerView], loads: list[int], last: int) -> WorkerView:
    """Return the candidate with the least load, among equals the first beyond a slot.

    Args:
        workers: the candidates, at least one, in the order of their slots.
        loads: the load of each.
        last: the slot that was taken last; if nobody is beyond it, the lowest slot is next.
    """
    least = min(loads)
    at = loads.index(least)
    first = workers[at]
    try:
        while workers[at].slot <= last:
            at = loads.index(least, at + 1)
    except ValueError:  # nobody is beyond it
        return first
    return workers[at]
