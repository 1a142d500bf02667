"""Cost of dispatch: a pass with up to 1,000 candidates and listeners, simulated without forks."""

from __future__ import annotations

import time
from statistics import median

from bench.contenders import OURS
from bench.contest import Bench
from bench.results import Comparison, Goal, several
from host.dispatch.dispatcher import Dispatcher, DispatchPolicy
from host.interfaces import Listener
from host.ipc.assignment import WorkerId
from host.ipc.scoreboard import ACCEPTED, ACTIVE, CLAIMED, CLAIMED_ALL, SETTLED, Row
from host.plugins.schedulers.round_robin import RoundRobin
from host.telemetry.emitter import Telemetry

LETTER = "dispatch"
TITLE = "Cost of a dispatch pass"
GOALS: tuple[Goal, ...] = ()
COUNTS = (1, 3, 10, 30, 100, 300, 1000)
FEW = 4
BURST = 64


class World:
    """A dispatcher with its scoreboard, whose workers claim at once what they are sent."""

    def __init__(self, workers: int, listeners: int) -> None:
        stride = Row([], 0, listeners, 0).cell(listeners, 0)
        cells = memoryview(bytearray(8 * stride * workers)).cast("Q")
        self.rows = [Row(cells, slot * stride, listeners, slot) for slot in range(workers)]
        self.waiting = 0
        views = [Listener(n, f"tcp://127.0.0.1:{n + 1}", "echo") for n in range(listeners)]
        self.dispatcher = Dispatcher(
            cells,
            [(view, lambda: self.waiting) for view in views],
            [("round_robin", RoundRobin().choose_worker)],
            DispatchPolicy(65_536, 0.045),
            report=self._report,
            telemetry=Telemetry(lambda _record: None),
        )
        for row in self.rows:
            self.dispatcher.ready(row, WorkerId(row.number, 1000 + row.number, 0))

    def _report(self, plugin: str, hook: str, error: BaseException, args: object) -> None:
        raise error

    def turn(self, listener: int, waiting: int, now: float) -> float:
        """Do one pass with so many connections waiting; return how many seconds it took."""
        self.waiting = waiting
        began = time.perf_counter()
        plan = self.dispatcher.plan(listener, now)
        lasted = time.perf_counter() - began
        for worker, count in plan:
            self._accept(self.rows[worker.slot], listener, count)
        return lasted

    def _accept(self, row: Row, listener: int, count: int) -> None:
        row.put(ACTIVE, row.get(ACTIVE) + count)
        row.add(listener, CLAIMED, count)
        row.put(CLAIMED_ALL, row.get(CLAIMED_ALL) + count)
        row.add(listener, ACCEPTED, count)
        row.add(listener, SETTLED, count)
        row.put(ACTIVE, row.get(ACTIVE) - count)  # and it leaves again


def measure(workers: int, listeners: int, passes: int) -> dict[str, float]:
    """Return what a pass costs, and each connection of a burst."""
    world = World(workers, listeners)
    one = [world.turn(n % listeners, 1, n * 0.001) for n in range(passes)]
    burst = [world.turn(n % listeners, BURST, n * 0.001) for n in range(passes)]
    return {"pass_us": median(one) * 1e6, "burst_us": median(burst) / BURST * 1e6}


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    bench.say(f"({LETTER}) {TITLE}")
    passes = 50 if bench.quick else 500
    results = []
    for series in ("candidates", "listeners"):
        for count in COUNTS:
            workers, listeners = (count, 1) if series == "candidates" else (FEW, count)
            name = f"{several(workers, 'candidate')}, {several(listeners, 'listener')}"
            result = Comparison(LETTER, name, "connection", OURS, series=series, x=count)
            rounds = range(3 if bench.quick else bench.pairs)
            result.solo = [measure(workers, listeners, passes) for _ in rounds]
            results.append(result)
    return results
