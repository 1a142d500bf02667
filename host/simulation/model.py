"""A model of the host in simulated time: arrivals, workers, and what a scheduler makes of them.

The rules of this file
    It does no I/O, asks no clock and draws no random numbers: the same arrivals give the same
    result. What chooses is passed in: it is the function that the host itself would call.

The model
    A connection arrives, is held for some seconds, and asks for work in requests that are spread
    evenly over that time, the first one on arrival. A worker is one loop: it takes
    requests in the order in which they come, and each to its end (first in, first out). No
    processor sharing: a handler that runs is not interrupted for another one, which is
    just why it matters what waits behind what. What comes during a turn of the loop is served
    in the next turn. A connection is outstanding until its first request is begun, from then on
    active, until its time is over and its last request done.

    Nothing else takes time: no network, no kernel, no dispatch. Workers have a CPU each. They have
    no connection limit, do not die, and are not suspended when they miss a claim.

How it is computed
    When requests come does not depend on who serves them, so all are sorted once. First in, first
    out tells when a request is begun as soon as it has come. So there is nothing to
    schedule: each worker remembers when its connections will begin and end, and catches up
    with the clock whenever it is looked at.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from host.interfaces import Listener, WorkerView
from host.simulation.arrivals import Arrival, Scenario

Choose = Callable[[Listener, Sequence[WorkerView]], WorkerView]

WARM_UP = 0.1
"""Share of the arrivals that only fill the workers and are not measured."""
SAMPLES = 2000
"""How often, at most, the connections of all workers are compared."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. All but `taken` leaves out the warm-up.

    Attributes:
        taken: the connections that each worker took.
        taken_max_mean: the most that a worker took, divided by the mean of all.
        open_max_mean: the most that a worker had open, divided by the mean: over time, on average.
        open_gini: the Gini coefficient of what the workers had open: 0 if all had the same, near 1
            if one held everything; over time, on average.
        mean_wait: how long a request waited until its worker began with it, in seconds.
        p99_wait: the time within which 99 of 100 requests were begun, in seconds.
    """

    taken: tuple[int, ...]
    taken_max_mean: float
    open_max_mean: float
    open_gini: float
    mean_wait: float
    p99_wait: float


class Clock:
    """The simulated time."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0


class SimulatedWorker:
    """One worker; schedulers see it as a `host.WorkerView`."""

    __slots__ = (
        "_active",
        "_begins",
        "_clock",
        "_ends",
        "_free",
        "_speed",
        "_turn_ends",
        "_turn_started",
        "generation",
        "pid",
        "slot",
        "taken",
    )

    def __init__(self, slot: int, speed: float, clock: Clock) -> None:
        self.slot, self.pid, self.generation = slot, 1000 + slot, 0
        self.taken = 0
        self._speed, self._clock = speed, clock
        self._free = 0.0  # when all that has come so far will be done
        self._turn_started = self._turn_ends = 0.0
        self._begins: deque[float] = deque()  # of the connections that are outstanding
        self._ends: list[float] = []  # a heap; of those whose last request has come
        self._active = 0

    def __repr__(self) -> str:
        return f"<simulated worker {self.slot}>"

    @property
    def active(self) -> int:
        """Connections open now."""
        self._catch_up()
        return self._active

    @property
    def outstanding(self) -> int:
        """Connections on their way to it."""
        self._catch_up()
        return len(self._begins)

    @property
    def accepted(self) -> int:
        """Connections accepted so far."""
        self._catch_up()
        return self.taken - len(self._begins)

    @property
    def loop_lag_seconds(self) -> float:
        """How long the present or, between turns, the last turn has taken."""
        self._catch_up()
        return min(self._clock.now, self._turn_ends) - self._turn_started

    def take(self) -> None:
        """Be chosen for a connection, whose first request follows at once."""
        self._catch_up()
        self.taken += 1
        self._begins.append(max(self._clock.now, self._free))

    def serve(self, work: float, end: float | None) -> float:
        """Queue a request; return how long it will wait.

        Args:
            work: seconds of work at speed 1.
            end: when its connection's time is over, if this is the connection's last request.
        """
        self._catch_up()
        now = self._clock.now
        begin = max(now, self._free)
        self._free = begin + work / self._speed
        if begin == now:  # it waits for events: this one makes a turn
            self._turn_started, self._turn_ends = now, self._free
        if end is not None:
            heapq.heappush(self._ends, max(end, self._free))
        return begin - now

    def _catch_up(self) -> None:
        now = self._clock.now
        while self._turn_ends <= now and self._turn_ends < self._free:
            self._turn_started, self._turn_ends = self._turn_ends, self._free
        while self._begins and self._begins[0] <= now:
            self._begins.popleft()
            self._active += 1
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
            self._active -= 1


def run(scenario: Scenario, choose: Choose) -> Result:
    """Let a scheduler distribute the arrivals, up to the last one.

    Args:
        scenario: what arrives at which workers.
        choose: the scheduler; it must answer one of the workers that it is given.
    """
    clock = Clock()
    workers = [SimulatedWorker(slot, speed, clock) for slot, speed in enumerate(scenario.speeds)]
    listeners = [Listener(i, address, "simulated") for i, address in enumerate(scenario.listeners)]
    candidates: tuple[WorkerView, ...] = tuple(workers)
    arrivals = scenario.arrivals
    serving: dict[int, SimulatedWorker] = {}
    warm = int(len(arrivals) * WARM_UP)
    stride = max(1, (len(arrivals) - warm) // SAMPLES)
    waits: list[float] = []
    open_now: list[list[int]] = []
    for at, index, is_first, is_last in _requests(arrivals):
        clock.now = at
        arrival = arrivals[index]
        if is_first:
            if index >= warm and (index - warm) % stride == 0:
                open_now.append([worker.active + worker.outstanding for worker in workers])
            worker = workers[choose(listeners[arrival.listener], candidates).slot]
            serving[index] = worker
            worker.take()
        worker = serving.pop(index) if is_last else serving[index]
        end = arrival.at + arrival.seconds if is_last else None
        wait = worker.serve(arrival.work / arrival.requests, end)
        if at >= arrivals[warm].at:
            waits.append(wait)
    return _result([worker.taken for worker in workers], open_now, waits)


def _requests(arrivals: Sequence[Arrival]) -> list[tuple[float, int, bool, bool]]:
    """Return all requests in order: when, of which arrival, and if it is its first or last.

    What comes after the last arrival is left out: the load only falls from there on. A
    connection cut off like that stays open.
    """
    until = arrivals[-1].at
    found = []
    for index, arrival in enumerate(arrivals):
        last, gap = arrival.requests - 1, arrival.seconds / arrival.requests
        for number in range(arrival.requests):
            at = arrival.at + number * gap
            if at > until:
                break
            found.append((at, index, number == 0, number == last))
    # Sorting is stable: of one instant, the first request of a connection stays the first.
    found.sort(key=lambda request: request[:2])
    return found


def _result(taken: list[int], open_now: list[list[int]], waits: list[float]) -> Result:
    counted = [sample for sample in open_now if any(sample)]
    waits.sort()
    return Result(
        taken=tuple(taken),
        taken_max_mean=max_mean(taken),
        open_max_mean=fmean(map(max_mean, counted)) if counted else 1.0,
        open_gini=fmean(map(gini, counted)) if counted else 0.0,
        mean_wait=fmean(waits),
        p99_wait=waits[math.ceil(0.99 * len(waits)) - 1],
    )


def max_mean(values: Sequence[int]) -> float:
    """Return the largest value divided by the mean; 1 if all are 0."""
    total = sum(values)
    return max(values) * len(values) / total if total else 1.0


def gini(values: Sequence[int]) -> float:
    """Return the Gini coefficient: half the mean difference of two values, by their mean."""
    total, count = sum(values), len(values)
    if not total:
        return 0.0
    ranked = sum(rank * value for rank, value in enumerate(sorted(values), 1))
    return 2 * ranked / (count * total) - (count + 1) / count
