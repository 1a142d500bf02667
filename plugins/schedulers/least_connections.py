"""Least connections: the worker with the fewest takes the next one; meant for long sessions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from host import WorkerView, hookimpl


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
        last = self._last
        # A loop, and no key for min(): it is run for each worker of each connection.
        chosen, least = workers[0], math.inf
        turn = False  # whether `chosen` is beyond the last one taken
        for worker in workers:
            held = worker.active + worker.outstanding
            if held < least:
                chosen, least, turn = worker, held, worker.slot > last
            elif held == least and not turn and worker.slot > last:
                chosen, turn = worker, True
        self._last = chosen.slot
        return chosen
