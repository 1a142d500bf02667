"""Pools of processes beside each other: the death of a process, a tiny task, and other clients."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import select
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from bench import pool_neighbours
from bench.pool_tasks import give, nap, pid
from host.ipc.scoreboard import Scoreboard
from host.offload.pools import MakePools
from host.offload.processes import ProcessPool
from host.runtime.loop import Loop
from host.settings import PoolSettings
from host.telemetry.emitter import Telemetry

PROCESSES, TASKS, TASK_SECONDS, WAIT_SECONDS = 4, 20, 0.1, 10.0
ROUNDS, TRIPS, ROUNDS_OF_NEIGHBOURS = 7, 300, 5
BEGIN, END = "<!-- comparison -->\n", "<!-- end of the comparison -->\n"
Submit = Callable[..., Callable[[float], Any]]
"""Has a function called in the pool; returns what waits for the result, so many seconds."""


def _of_future(future: Future[Any]) -> Callable[[float], Any]:
    return future.result


def _called(call: Callable[[], object]) -> None:
    call()


@contextmanager
def prefork(size: int) -> Iterator[Submit]:
    """Have a pool of the host, on a loop of its own."""
    loop = Loop()
    settings = {"p": PoolSettings(size=size)}
    row = Scoreboard(1).use(0, 0)
    pools = MakePools(settings, {})(loop, _called, Telemetry(), 0, row)
    pool = pools.get("p")
    assert isinstance(pool, ProcessPool)

    def submit(func: Callable[..., Any], *args: Any) -> Callable[[float], Any]:
        result = pool.apply_async(func, args)

        def wait(seconds: float) -> Any:
            end = time.monotonic() + seconds
            while not result.ready():
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                loop.run_once(left)
            return result.get()

        return wait

    yield submit
    pools.close()
    loop.close()


@contextmanager
def concurrent_futures(size: int) -> Iterator[Submit]:
    """Have a ProcessPoolExecutor whose processes are spawned, too."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(size, mp_context=context) as pool:
        yield lambda func, *args: _of_future(pool.submit(func, *args))


@contextmanager
def multiprocessing_pool(size: int) -> Iterator[Submit]:
    """Have a multiprocessing.Pool whose processes are spawned, too."""
    with multiprocessing.get_context("spawn").Pool(size) as pool:
        yield lambda func, *args: pool.apply_async(func, args).get


@contextmanager
def loky(size: int) -> Iterator[Submit]:
    """Have an executor of loky."""
    from loky import ProcessPoolExecutor as Executor  # noqa: PLC0415

    with Executor(size) as pool:
        yield lambda func, *args: _of_future(pool.submit(func, *args))


@contextmanager
def pebble(size: int) -> Iterator[Submit]:
    """Have a ProcessPool of pebble."""
    from pebble import ProcessPool as Pool  # noqa: PLC0415

    with Pool(size, context=multiprocessing.get_context("spawn")) as pool:
        yield lambda func, *args: _of_future(pool.schedule(func, args=args))


POOLS: dict[str, Callable[[int], Any]] = {
    "prefork": prefork,
    "pebble": pebble,
    "multiprocessing.Pool": multiprocessing_pool,
    "concurrent.futures": concurrent_futures,
    "loky": loky,
}


class Death(NamedTuple):
    """What the death of a process has cost.

    Attributes:
        failed: how many tasks have failed, by the name of the error.
        silent: how many have no answer at all.
        usable: whether the pool does a task afterwards.
    """

    failed: dict[str, int]
    silent: int
    usable: bool


def kill_one(name: str) -> None:
    """Kill one of four processes that have twenty tasks."""
    with POOLS[name](PROCESSES) as submit:
        asked = [submit(pid, TASK_SECONDS) for _ in range(PROCESSES)]
        pids = {wait(60) for wait in asked}
        waits = [submit(nap, TASK_SECONDS) for _ in range(TASKS)]
        time.sleep(TASK_SECONDS / 2)  # so that it is at work
        os.kill(pids.pop(), signal.SIGKILL)
        failed: dict[str, int] = {}
        silent = 0
        end = time.monotonic() + WAIT_SECONDS
        for wait in waits:
            try:
                wait(max(0.1, end - time.monotonic()))
            except (TimeoutError, multiprocessing.TimeoutError):
                silent += 1
            except Exception as error:
                failed[type(error).__name__] = failed.get(type(error).__name__, 0) + 1
        usable = False
        with suppress(Exception):
            usable = submit(give, 1)(10) == 1
        print(json.dumps(Death(failed, silent, usable)), flush=True)
        signal.pause()  # some would wait for ever at their end: whoever reads this ends them


def measure(name: str) -> None:
    """Print the median round trip of a tiny task, in microseconds."""
    with POOLS[name](1) as submit:
        submit(give, 1)(60)
        trips = []
        for _ in range(TRIPS):
            began = time.perf_counter()
            submit(give, 1)(60)
            trips.append(time.perf_counter() - began)
        print(json.dumps(statistics.median(trips) * 1e6), flush=True)
        signal.pause()


def measure_pinned(name: str) -> None:
    """Do the same with all processes on one CPU: no CPU that sleeps has to be woken."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    measure(name)


def neighbours(name: str) -> None:
    """Print how many times their values p95 and p99 of other clients are while tasks are done."""
    print(json.dumps(pool_neighbours.measure(name)), flush=True)


def _run(what: str, name: str) -> Any:
    """Do one of these in a process of its own, and end whatever it leaves behind."""
    command = [sys.executable, "-m", "bench.pools", what, name]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 60)[0], f"{name} does not answer"
            return json.loads(process.stdout.readline())
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def table() -> str:
    """Compare all pools, in turns; return the table in Markdown."""
    others = _neighbours()
    deaths = {name: Death(*_run("kill", name)) for name in POOLS}
    apart, own = _trips("measure")
    together, own_together = _trips("measure-pinned")
    rows = [
        "| pool | tasks that fail | no answer | afterwards | round trip of a tiny task"
        " | on one CPU | p95 of other clients | p99 |",
        "|---|---|---:|---|---:|---:|---:|---:|",
    ]
    for name, death in deaths.items():
        failed = ", ".join(f"{count} (`{error}`)" for error, count in death.failed.items()) or "0"
        usable = "goes on" if death.usable else "unusable"
        shown = name if name in ("prefork",) else f"{name} {_version(name)}".strip()
        trips = f"{apart[name]:.1f}", f"{together[name]:.1f}"
        cells = (shown, failed, death.silent, usable, *trips, *others[name])
        rows.append(f"| {' | '.join(map(str, cells))} |")
    for name in pool_neighbours.NAMES:
        if name in deaths:
            continue
        rows.append(f"| {name} | | | | | | {' | '.join(others[name])} |")
    note = (
        f"Round trips are multiples of prefork's: {own:.0f} µs, and {own_together:.0f} µs"
        f" on one CPU: medians of\n{ROUNDS} rounds with {TRIPS} tasks each, in turns, by Python "
        f"{sys.version.split()[0]} on {os.cpu_count()} cores. With\n`busy_poll_us = 0`, most of a"
        " round trip on two CPUs is the time in which the kernel\nwakes somebody, twice.\n\n"
        "How long other clients of the same worker wait, while one process always has tasks of\n"
        "some milliseconds, is a multiple of what it was without tasks, just before; medians of "
        f"{ROUNDS_OF_NEIGHBOURS} rounds.\nWith a timer instead of a task, the worker gets the same"
        " requests and sends the same answers."
    )
    return "\n".join(rows) + f"\n\n{note}\n"


def _trips(what: str) -> tuple[dict[str, float], float]:
    """Return round trips as multiples of prefork's, and prefork's in microseconds."""
    ratios: dict[str, list[float]] = {name: [] for name in POOLS}
    own = []
    for _ in range(ROUNDS):
        trips = {name: _run(what, name) for name in POOLS}
        own.append(trips["prefork"])
        for name, trip in trips.items():
            ratios[name].append(trip / trips["prefork"])
    medians = {name: statistics.median(each) for name, each in ratios.items()}
    return medians, statistics.median(own)


def _neighbours() -> dict[str, tuple[str, str]]:
    """Return p95 and p99 of other clients with each pool, as multiples, as text."""
    rounds = [
        {name: _run("neighbours", name) for name in pool_neighbours.NAMES}
        for _ in range(ROUNDS_OF_NEIGHBOURS)
    ]
    medians = {
        name: [statistics.median(each[name][which] for each in rounds) for which in (0, 1)]
        for name in pool_neighbours.NAMES
    }
    return {name: (f"{p95:.1f}", f"{p99:.1f}") for name, (p95, p99) in medians.items()}


def _version(name: str) -> str:
    return version(name) if name in ("loky", "pebble") else ""


DOINGS = {
    "kill": kill_one,
    "measure": measure,
    "measure-pinned": measure_pinned,
    "neighbours": neighbours,
}


def main() -> None:
    """Print the table, or write it into a page between two marks."""
    parser = argparse.ArgumentParser(prog="python -m bench.pools")
    parser.add_argument("what", nargs="?", choices=DOINGS)
    parser.add_argument("name", nargs="?", choices=pool_neighbours.NAMES)
    parser.add_argument("--markdown", type=Path, help="a page that has the marks")
    arguments = parser.parse_args()
    if arguments.what:
        DOINGS[arguments.what](arguments.name)
        return
    made = table()
    print(made)
    if arguments.markdown:
        text = arguments.markdown.read_text(encoding="utf-8")
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        page = f"{before}{BEGIN}\n{made}\n{END}{after}"
        arguments.markdown.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
