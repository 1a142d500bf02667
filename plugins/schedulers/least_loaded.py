"""Least loaded: like least connections, but the time that a worker is busy counts as well."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field

from host import Counter, Host, WorkerView, hookimpl
from host.plugins.schedulers.turns import next_of_least


class Options(BaseModel):
    """What can be set in `[options.least_loaded]`."""

    lag_seconds_per_connection: float = Field(
        default=0.01,
        gt=0,
        description="Loop lag in seconds that counts as much as one connection; less counts as"
        " nothing. 0.01 is beyond an ordinary turn, and a fifth of the time after which the host"
        " itself takes a worker for stuck. A small one follows every hiccup.",
    )


class LeastLoaded:
    """Take the candidate with the least load: its connections, and one more for each 10 ms of lag.

    A sum, because what it is compared with are the other workers: where all hold a like number,
    large or small, a lag of 50 ms puts a worker behind until the others took five more. In
    whole connections, because the microseconds by which turns differ would else decide every
    time, where in truth all are equal. Among equals it is the next slot's turn.

    The loop lag tells how long the present turn has taken, or the last one if the worker waits for
    events. A lag that is the same as at the last look is therefore of a turn that is over: the
    worker is idle, and the lag no longer counts. (Without that rule a worker that was slow once
    and then got nothing would stay slow for ever.)

    Its limits: a lag shows only while it lasts, so a worker that will be busy the moment after
    is taken for idle; it says nothing about what waits behind the present turn; and
    a process that does not get the CPU looks like one that works hard.
    """

    def __init__(self, options: Options) -> None:
        self._per_connection = options.lag_seconds_per_connection
        self._seen: dict[int, float] = {}
        self._last = -1
        self._lags: Counter | None = None

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        """Declare what is counted."""
        self._lags = host.metrics.counter("lags", "How often lag has counted against a worker.")

    @hookimpl
    def choose_worker(self, workers: Sequence[WorkerView]) -> WorkerView:
        """Return the candidate with the least load, among equals the next in turn."""
        per_connection, seen = self._per_connection, self._seen
        loads = []
        for worker in workers:  # without a call for each: it is done for each connection
            load, lag = worker.active + worker.outstanding, worker.loop_lag_seconds
            if lag >= per_connection and lag != seen.get(worker.slot):
                load += self._count(worker.slot, lag)
            loads.append(load)
        chosen = next_of_least(workers, loads, self._last)
        self._last = chosen.slot
        return chosen

    def _count(self, slot: int, lag: float) -> int:
        """Return how many connections this lag counts as, and remember that it has counted."""
        self._seen[slot] = lag
        if self._lags is not None:
            self._lags.add()
        return int(lag / self._per_connection)
