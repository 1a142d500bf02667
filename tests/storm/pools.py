"""Pools: whatever becomes of their processes, each task has one answer."""

from __future__ import annotations

import gc
import os
import re
import signal
import time
from contextlib import ExitStack, suppress

from host.testing.machine import Stopwatch, patience
from storm.hosts import StormHost, soon
from storm.memory import MB, OUT_OF_MEMORY, leave_bytes, memory_group, started_in
from storm.reloading import reload_once
from storm.rows import SkippedError, Trial, row
from support.address import connect
from support.hosting import SUPPORT
from support.pooling import bench, give
from support.processes import children, status

OFFLOADING = str(SUPPORT / "offloading.py")
SIZE, TIMEOUT_SECONDS = 2, 2.0
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
        settings={
            "pools.default.size": SIZE,
            "pools.default.timeout_seconds": patience(TIMEOUT_SECONDS),
        },
    )
    answers = hits = 0
    for number in trial.rounds(range(2), range(100)):
        if number % 5 == 1:
            reload_once(host)
        answers += ask(trial, host)
        hits += hit(trial, host)
        if number % 5 == 3:
            os.kill(host.workers[0], signal.SIGKILL)
            wait_for_processes(trial, host, set())
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


def wait_for_processes(trial: Trial, host: StormHost, hit: set[int]) -> None:
    """End those that were hit, and wait until the pools are whole without them."""
    for pid in hit:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # one that was stopped while it was idle is there yet
    whole = soon(
        lambda: len(pids := pool_pids(host)) == 2 * SIZE and not pids & hit,
        20.0,
    )
    trial.must(whole, "no new processes")


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
    count, hits, stricken = trial.pick(100, 400), 0, set()
    with connect(host.address, 60.0) as client, client.makefile("rb") as file:
        client.sendall(b"echo x\n" * count)
        for number in range(count):
            if number % 20 == 0 and (pids := sorted(pool_pids(host))):
                blow = trial.random.choice((signal.SIGKILL, signal.SIGSTOP))
                victim = trial.random.choice(pids)
                with suppress(ProcessLookupError):
                    os.kill(victim, blow)
                    stricken.add(victim)
                    hits += 1
            answer = file.readline().decode().rstrip("\n")
            fine = answer == "x" or re.match("Task(Lost|Timeout)Error: ", answer)
            trial.must(fine, f"task {number} was answered with {answer[:80]!r}")
    wait_for_processes(trial, host, stricken)
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


@row(
    57,
    "memory runs out in a cgroup (v1) while tasks of a pool fill it",
    "the kernel takes the process of the task, never a worker; the task is told so, others go on",
)
def full_memory(trial: Trial) -> str:
    kills = 0
    with ExitStack() as stack:
        try:
            group = stack.enter_context(memory_group())
        except OSError as error:
            raise SkippedError(f"no memory cgroup (v1) can be made: {error.strerror}") from None
        host = trial.start(
            OFFLOADING,
            workers=2,
            settings={"pools.default.size": SIZE},
            wrapper=started_in(group),
        )
        workers = dict(host.workers)
        free = (group / "memory.limit_in_bytes").read_text()
        for _ in trial.rounds(range(2), range(100)):
            stricken = pool_pids(host)
            wait_for_processes(trial, host, stricken if trial.random.random() < 0.5 else set())
            leave_bytes(group, trial.random.choice((10, 40, 80, 160)) * MB)
            kills += fill(trial, host)
            (group / "memory.limit_in_bytes").write_text(free)
        trial.must(host.workers == workers, f"workers were ended: {host.workers}")
        trial.broken += host.finish()
    return f"the kernel has ended {kills} processes of pools, and nobody else"


def fill(trial: Trial, host: StormHost) -> int:
    """Have memory filled by one of five tasks of each of two clients; return how many were told."""
    lines, told = ("echo a", "echo b", "fill", "echo c", "echo d"), 0
    with connect(host.address, 60.0) as one, connect(host.address, 60.0) as two:
        for client in (one, two):
            client.sendall("".join(f"{line}\n" for line in lines).encode())
        for client in (one, two):
            with client.makefile("rb") as file:
                answers = [file.readline().decode().rstrip("\n") for _ in lines]
            # With too little memory for any process to begin, no task of the pool can be done.
            lost = [each for each in answers if re.match("(TaskLost|Pool)Error: ", each)]
            trial.must(OUT_OF_MEMORY in answers[2], f"who fills it was told {answers[2]!r}")
            trial.must(
                all(each in ("a", "b", "c", "d") or each in lost for each in answers),
                f"answers: {answers}",
            )
            told += len(lost)
    return told


def descriptors_and_bytes() -> tuple[int, int]:
    """Return how many descriptors this process has, and its resident memory."""
    gc.collect()  # what others have left
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    return len(os.listdir("/proc/self/fd")), pages * os.sysconf("SC_PAGE_SIZE")
