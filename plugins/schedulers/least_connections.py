"""Least connections: the worker with the fewest takes the next one; meant for long sessions."""

from __future__ import annotations

from collections.abc import Sequence

from host import WorkerView, hookimpl
from host.plugins.schedulers.turns import next_of_least


class LeastConnections:
    """Take the candidate with the fewest connections, counting those that are on their way.

    What was sent and not yet claimed counts as well: a burst would else go to one worker, since
    `active` rises only when that worker accepts. Among equals it is the turn of the first slot
    after the last one taken. Without that rule a pool that is idle most of the time would
    use its lowest slot for everything.
    """

    def __init__(self) -> None:
        self._last = -1

    @hookimpl
    def choose_worker(self, workers: Sequence[WorkerView]) -> WorkerView:
        """Return the candidate with the fewest connections, among equals the next in turn."""
        held = [worker.active + worker.outstanding for worker in workers]
        chosen = next_of_least(workers, held, self._last)
        self._last = chosen.slot
        return chosen
