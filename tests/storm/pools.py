"""Pools: whatever becomes of their processes, each task has one answer."""

from __future__ import annotations

import os
import re
import signal
import time
from contextlib import suppress

from host.testing.machine import Stopwatch
from storm.hosts import StormHost, soon
from storm.reloading import reload_once
from storm.rows import Trial, row
from support.address import connect
from support.hosting import SUPPORT
from support.pooling import bench, give
from support.processes import children, status

OFFLOADING = str(SUPPORT / "offloading.py")
SIZE, TIMEOUT = 2, 1.0
FAULTS = ["die", "leave 3", "stop", "sleep 1000", "eat", "lend", "raise x", "fork"]
"""Tasks that end, stop, hang, take all memory, return what cannot be pickled, fail, or fork."""
WRONG = re.compile(r"(TaskLost|TaskTimeout|Memory|Pickling|Value)Error: ")


@row(
    47,
    "processes of pools killed, stopped, hung, out of memory; results that cannot be pickled; with"
    " reloads, a killed worker and a stop while tasks run",
    "each task has one answer, in its place; others are served; nothing is left",
)
def pools(trial: Trial) -> str:
    host = trial.start(
        OFFLOADING,
        workers=2,
        settings={"pools.default.size": SIZE, "pools.default.timeout_seconds": TIMEOUT},
    )
    answers = hits = 0
    for number in trial.rounds(range(2), range(100)):
        if number % 5 == 1:
            reload_once(host)
        answers += ask(trial, host)
        hits += hit(trial, host)
        if number % 5 == 3:
            os.kill(host.workers[0], signal.SIGKILL)
            trial.must(soon(lambda: len(pool_pids(host)) == 2 * SIZE, 20.0), "no new processes")
    seen = pool_pids(host)
    with connect(host.address, 10.0) as client:  # a stop while tasks run
        client.sendall(b"loose sleep 0.5\nloose sleep 0.5\necho last\n")
        trial.must(client.recv(100) == b"last\n", "the last task has no answer")
    trial.broken += host.finish()
    left = [pid for pid in seen if status(pid) is not None]
    trial.must(not left, f"left of the pools: {left}")
    return f"{answers} answers, each in its place; {hits} blows at processes"


def pool_pids(host: StormHost) -> set[int]:
    """Return the processes of all pools."""
    return {each.pid for pid in host.workers.values() for each in children(pid)}


def ask(trial: Trial, host: StormHost) -> int:
    """Send each fault between two good tasks; judge the answers, and return how many came."""
    lines = [line for fault in FAULTS for line in ("echo good", fault)] + ["echo good"]
    with connect(host.address, 30.0) as client, client.makefile("rb") as file:
        forks = []
        for line in lines:  # one at a time: what waits behind a fault has a time-out, too
            client.sendall(f"{line}\n".encode())
            answer = file.readline().decode().rstrip("\n")
            if line == "echo good":
                trial.must(answer == "good", f"a good task was answered with {answer!r}")
            elif line == "fork":
                forks.append(int(answer))
            else:
                trial.must(WRONG.match(answer), f"{line} was answered with {answer[:80]!r}")
        for pid in forks:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return len(lines)


def hit(trial: Trial, host: StormHost) -> int:
    """Kill and stop processes at any moment while tasks are done; return how often."""
    count, hits = trial.pick(100, 400), 0
    with connect(host.address, 60.0) as client, client.makefile("rb") as file:
        client.sendall(b"echo x\n" * count)
        for number in range(count):
            if number % 20 == 0 and (pids := sorted(pool_pids(host))):
                blow = trial.random.choice((signal.SIGKILL, signal.SIGSTOP))
                with suppress(ProcessLookupError):
                    os.kill(trial.random.choice(pids), blow)
                    hits += 1
            answer = file.readline().decode().rstrip("\n")
            fine = answer == "x" or re.match("Task(Lost|Timeout)Error: ", answer)
            trial.must(fine, f"task {number} was answered with {answer[:80]!r}")
    return hits


@row(
    48,
    "1,000,000 tiny tasks in a pool of two processes",
    "each has its answer; no memory and no descriptor is left of them",
)
def tiny_tasks(trial: Trial) -> str:
    count, room = trial.pick(20_000, 1_000_000), 1_000
    answered = 0

    def note(_value: object) -> None:
        nonlocal answered
        answered += 1

    with bench(size=2, max_queued=room) as made:
        made.begin()
        began, given = time.monotonic(), 0
        watch = Stopwatch()
        before = descriptors_and_bytes()
        while answered < count and not watch.has_passed(60 + count / 1_000):
            while given < count and given - answered < room:
                made.pool.apply_async(give, (given,), callback=note)
                given += 1
            made.loop.run_once(1.0)
        seconds = time.monotonic() - began
        after = descriptors_and_bytes()
        trial.must(answered == count, f"{answered} of {count} have an answer")
        trial.must(not made.pool.is_busy(), "tasks are left")
        trial.must(after[0] == before[0], f"descriptors: {before[0]} before, {after[0]} after")
        grown = (after[1] - before[1]) / 2**20
        trial.must(grown < 8, f"the worker has grown by {grown:.1f} MiB")
    return (
        f"{count:,} tasks in {seconds:.0f} s, {count / seconds:,.0f} a second; {grown:.1f} MiB more"
    )


def descriptors_and_bytes() -> tuple[int, int]:
    """Return how many descriptors this process has, and its resident memory."""
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    return len(os.listdir("/proc/self/fd")), pages * os.sysconf("SC_PAGE_SIZE")
