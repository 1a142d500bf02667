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
    When requests come does not depend on who serves them, and first in, first out tells when a
    request is begun as soon as it has come. So what is still to happen is known: the clock keeps
    when connections will begin and end, and counts them in their workers as the time goes on.
    What a scheduler looks at are plain numbers: one that looks at all of a thousand workers for
    each of a million connections reads a billion of them. Of a connection that is open only its
    next request is kept, so memory goes by the connections and not by their requests.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
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
    """The simulated time, and what will happen to connections.

    Attributes:
        now: the time, in seconds.
    """

    __slots__ = ("_begins", "_ends", "now")

    def __init__(self) -> None:
        self.now = 0.0
        # Two heaps. Of two that come at one instant the slots are compared, and no workers.
        self._begins: list[tuple[float, int, SimulatedWorker]] = []
        self._ends: list[tuple[float, int, SimulatedWorker]] = []

    def advance(self, now: float) -> None:
        """Let time pass: count what has begun and ended up to this moment, in seconds."""
        self.now = now
        begins, ends = self._begins, self._ends
        while begins and begins[0][0] <= now:
            worker = heapq.heappop(begins)[2]
            worker.outstanding -= 1
            worker.active += 1
        while ends and ends[0][0] <= now:
            heapq.heappop(ends)[2].active -= 1

    def will_begin(self, at: float, worker: SimulatedWorker) -> None:
        """Count a connection of this worker as begun from `at` on."""
        heapq.heappush(self._begins, (at, worker.slot, worker))

    def will_end(self, at: float, worker: SimulatedWorker) -> None:
        """Count a connection of this worker as ended from `at` on."""
        heapq.heappush(self._ends, (at, worker.slot, worker))


class SimulatedWorker:
    """One worker; schedulers see it as a `host.WorkerView`.

    Attributes:
        slot: its place; `pid` and `generation` are there because a view has them.
        active: connections open now.
        outstanding: connections on their way to it.
        taken: connections that it was chosen for.
    """

    __slots__ = (
        "_clock",
        "_free",
        "_speed",
        "_turn_ends",
        "_turn_started",
        "active",
        "generation",
        "outstanding",
        "pid",
        "slot",
        "taken",
    )

    def __init__(self, slot: int, speed: float, clock: Clock) -> None:
        self.slot, self.pid, self.generation = slot, 1000 + slot, 0
        self.taken = self.active = self.outstanding = 0
        self._speed, self._clock = speed, clock
        self._free = 0.0  # when all that has come so far will be done
        self._turn_started = self._turn_ends = 0.0

    def __repr__(self) -> str:
        return f"<simulated worker {self.slot}>"

    @property
    def accepted(self) -> int:
        """Connections accepted so far."""
        return self.taken - self.outstanding

    @property
    def loop_lag_seconds(self) -> float:
        """How long the present or, between turns, the last turn has taken."""
        now = self._clock.now
        if self._turn_ends <= now:
            if self._turn_ends < self._free:
                self._end_turns(now)
            if self._turn_ends <= now:
                return self._turn_ends - self._turn_started
        return now - self._turn_started

    def take(self) -> None:
        """Be chosen for a connection, whose first request follows at once."""
        self.taken += 1
        if self._free <= self._clock.now:
            self.active += 1
        else:
            self.outstanding += 1
            self._clock.will_begin(self._free, self)

    def serve(self, work: float, end: float | None) -> float:
        """Queue a request; return how many seconds it will wait.

        Args:
            work: seconds of work at speed 1.
            end: when its connection's time is over, if this is the connection's last request.
        """
        now = self._clock.now
        if self._free <= now:  # it waits for events: this one makes a turn
            self._free = now + work / self._speed
            self._turn_started, self._turn_ends = now, self._free
            wait = 0.0
        else:
            if self._turn_ends <= now:
                self._end_turns(now)
            wait = self._free - now
            self._free += work / self._speed
        if end is not None:
            self._clock.will_end(max(end, self._free), self)
        return wait

    def _end_turns(self, now: float) -> None:
        """Begin each turn that has begun since the last look, with what had come until then."""
        while self._turn_ends <= now and self._turn_ends < self._free:
            self._turn_started, self._turn_ends = self._turn_ends, self._free


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
    measured_from = arrivals[warm].at
    stride = max(1, (len(arrivals) - warm) // SAMPLES)
    waits = array("d")
    open_now: list[list[int]] = []
    for at, index, is_first, is_last in _requests(arrivals):
        clock.advance(at)
        arrival = arrivals[index]
        if is_first:
            if index >= warm and (index - warm) % stride == 0:
                open_now.append([worker.active + worker.outstanding for worker in workers])
            worker = workers[choose(listeners[arrival.listener], candidates).slot]
            worker.take()
            if not is_last:
                serving[index] = worker
        else:
            worker = serving.pop(index) if is_last else serving[index]
        end = arrival.at + arrival.seconds if is_last else None
        wait = worker.serve(arrival.work / arrival.requests, end)
        if at >= measured_from:
            waits.append(wait)
    return _result([worker.taken for worker in workers], open_now, waits)


def _requests(arrivals: Sequence[Arrival]) -> Iterator[tuple[float, int, bool, bool]]:
    """Yield all requests in order: when, of which arrival, and if it is its first or last.

    What comes after the last arrival is left out: the load only falls from there on. A
    connection cut off like that stays open.
    """
    until = arrivals[-1].at
    # The next request of each connection that has begun. The number comes last: of one instant,
    # the lower connection is the first one, as if all requests had been sorted by both.
    coming: list[tuple[float, int, int]] = []
    for index, arrival in enumerate(arrivals):
        first = (arrival.at, index, 0)
        while coming and coming[0] < first:
            yield _next(coming, arrivals, until)
        yield arrival.at, index, True, arrival.requests == 1
        if arrival.requests > 1:
            at = arrival.at + arrival.seconds / arrival.requests
            if at <= until:
                heapq.heappush(coming, (at, index, 1))
    while coming:
        yield _next(coming, arrivals, until)


def _next(
    coming: list[tuple[float, int, int]], arrivals: Sequence[Arrival], until: float
) -> tuple[float, int, bool, bool]:
    """Take the first of the requests that are coming, and put its connection's next one there."""
    at, index, number = coming[0]
    arrival = arrivals[index]
    if number == arrival.requests - 1:
        heapq.heappop(coming)
        return at, index, False, True
    following = arrival.at + (number + 1) * (arrival.seconds / arrival.requests)
    if following <= until:
        heapq.heapreplace(coming, (following, index, number + 1))
    else:
        heapq.heappop(coming)
    return at, index, False, False


def _result(taken: list[int], open_now: list[list[int]], waits: Sequence[float]) -> Result:
    counted = [sample for sample in open_now if any(sample)]
    # Not sorted: of twenty million waits a list would be of numbers that take a GiB.
    beyond = len(waits) - math.ceil(0.99 * len(waits)) + 1
    return Result(
        taken=tuple(taken),
        taken_max_mean=max_mean(taken),
        open_max_mean=fmean(map(max_mean, counted)) if counted else 1.0,
        open_gini=fmean(map(gini, counted)) if counted else 0.0,
        mean_wait=fmean(waits),
        p99_wait=heapq.nlargest(beyond, waits)[-1],
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
