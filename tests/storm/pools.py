"""Pools: whatever becomes of their processes, each task has one answer."""

from __future__ import annotations

import gc
import os
import re
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from host.testing.machine import Stopwatch, patience
from storm.hosts import StormHost, soon
from storm.memory import MB, OUT_OF_MEMORY, leave_bytes, memory_group, started_in
from storm.reloading import reload_once
from storm.rows import SkippedError, Trial, row
from support.address import connect
from support.asking import query
from support.hosting import SUPPORT
from support.pooling import bench, give
from support.processes import children, status

OFFLOADING = str(SUPPORT / "offloading.py")
SIZE, TIMEOUT_SECONDS = 2, 2.0
START_SECONDS = 60.0
"""How long the host gives a process to begin."""
CLIENTS, TASKS = 4, 4
"""How many clients have tasks when something happens to the host, and how many each has."""
FAULTS = ["die", "leave 3", "stop", "sleep 1000", "eat", "lend", "raise x", "unsendable", "fork"]
"""Tasks that end, stop, hang, take all memory, have results or arguments that cannot be pickled,
fail, or fork."""
HIT = re.compile(
    "Task(Lost|Timeout)Error: |PoolError: .* ended before it was ready: killed by SIGKILL"
)
"""What tasks are told whose process was killed or stopped, or whose pool has none since those that
begin are killed one after the other."""
WRONG = re.compile(r"(TaskLost|TaskTimeout|Memory|Pickling|Value)Error: ")


@row(
    47,
    "processes of pools killed, stopped, hung, out of memory; arguments and results that cannot be"
    " pickled; reloads, killed workers and a stop while tasks run and wait",
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
    answers = hits = cut = 0
    forks: set[int] = set()
    for number in trial.rounds(range(2), range(100)):
        answers += ask(trial, host, forks)
        hits += hit(trial, host)
        if number % 2 == 0:
            while_tasks_run(trial, host, lambda _: reload_once(host))
        else:
            cut += while_tasks_run(trial, host, lambda pid: kill(trial, pid), deadly=True)
        wait_for_processes(trial, host, set())
    tasks = query(host.name, "status")["tasks"]
    trial.must(not tasks["waiting"] and not tasks["running"], f"tasks are left: {tasks}")
    seen = pool_pids(host) | forks
    while_tasks_run(trial, host, lambda _: host.signal(signal.SIGTERM))
    trial.must(host.wait(20.0) == 0, "the stop has failed")
    trial.broken += host.finish()
    left = [pid for pid in seen if status(pid) is not None]
    trial.must(not left, f"left of the pools: {left}")
    return (
        f"{answers} answers, each in its place; {hits} blows at processes; {cut} tasks cut with"
        " their worker"
    )


def pool_pids(host: StormHost) -> set[int]:
    """Return the processes of all pools."""
    return {each.pid for pid in host.workers.values() for each in children(pid)}


def wait_for_processes(trial: Trial, host: StormHost, hit: set[int]) -> None:
    """Wait until the pools are whole, and do tasks, without those that were hit.

    The host finds out that one was stopped while it was idle when it has a task: so there are tasks
    meanwhile. One that was stopped before it had begun is replaced after a minute.
    """

    def whole() -> bool:
        all_done, pids = ask_everywhere(host), pool_pids(host)
        return all_done and len(pids) == 2 * SIZE and not pids & hit

    trial.must(soon(whole, START_SECONDS + 30.0), "no new processes")


def has_begun(pid: int) -> bool:
    """Tell whether a process of a pool takes tasks, or nearly so: it is nicer than its worker."""
    return os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)


def ask_everywhere(host: StormHost) -> bool:
    """Have both workers do more tasks than they have processes; tell whether all were done."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(host.address, 60.0)) for _ in range(CLIENTS)]
        for client in clients:
            client.sendall(b"echo x\n" * 2 * SIZE)
        answers = []
        for client in clients:
            with client.makefile("rb") as file:
                answers += [file.readline() for _ in range(2 * SIZE)]
    return set(answers) == {b"x\n"}


def check(trial: Trial, answer: str) -> None:
    """Check the answer of a task whose process may be killed or stopped."""
    fine = answer == "x" or HIT.match(answer)
    trial.must(fine, f"a task was answered with {answer[:200]!r}")


def while_tasks_run(
    trial: Trial, host: StormHost, do: Callable[[int], object], *, deadly: bool = False
) -> int:
    """Do something to the host, given a worker, while clients have tasks that run and that wait.

    Each client must hear each answer once, in their order; those of a worker that it kills may hear
    the first ones only.

    Returns:
        how many tasks have no answer, since their worker is dead.
    """
    cut, expected = 0, [str(number) for number in range(TASKS)]
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(host.address, 30.0)) for _ in range(CLIENTS)]
        files = [stack.enter_context(each.makefile("rb")) for each in clients]
        workers = []
        for client, file in zip(clients, files, strict=True):
            client.sendall(b"worker\n")
            workers.append(int(file.readline()))
        for client in clients:
            client.sendall(b"".join(b"nap 0.1 %d\n" % number for number in range(TASKS)))
        heard = [[file.readline().decode().strip()] for file in files]  # so the next one runs
        do(workers[0])
        for client, file, worker, lines in zip(clients, files, workers, heard, strict=True):
            with suppress(OSError):  # its worker is dead
                lines += [file.readline().decode().strip() for _ in range(TASKS - 1)]
                client.shutdown(socket.SHUT_WR)
                lines.append(file.read().decode())
            answers = [each for each in lines if each]
            if deadly and worker == workers[0]:
                trial.must(answers == expected[: len(answers)], f"a cut client heard {answers}")
                cut += TASKS - len(answers)
            else:
                trial.must(answers == expected, f"a client heard {answers}")
    return cut


def kill(trial: Trial, worker: int) -> None:
    """Kill a worker, and wait until its pool has ended."""
    its = [each.pid for each in children(worker)]
    os.kill(worker, signal.SIGKILL)
    trial.must(soon(lambda: not any(map(status, its)), 20.0), "processes outlive their worker")


def ask(trial: Trial, host: StormHost, forks: set[int]) -> int:
    """Send each fault between two good tasks; judge the answers, and return how many came.

    Args:
        forks: the processes that tasks have forked are added here.
    """
    lines = [line for fault in FAULTS for line in ("echo good", fault)] + ["echo good"]
    with connect(host.address, 30.0) as client, client.makefile("rb") as file:
        for line in lines:  # one at a time: what waits behind a fault has a time-out, too
            client.sendall(f"{line}\n".encode())
            answer = file.readline().decode().rstrip("\n")
            if line == "echo good":
                trial.must(answer == "good", f"a good task was answered with {answer!r}")
            elif line == "fork":
                forks.add(int(answer))
            else:
                trial.must(WRONG.match(answer), f"{line} was answered with {answer[:80]!r}")
    return len(lines)


def hit(trial: Trial, host: StormHost) -> int:
    """Kill and stop processes at any moment while tasks are done; return how often."""
    count, hits, stricken = trial.pick(100, 400), 0, set()
    with connect(host.address, 60.0) as client, client.makefile("rb") as file:
        client.sendall(b"echo x\n" * count)
        for number in range(count):
            if number % 20 == 0 and (pids := sorted(pool_pids(host))):
                victim = trial.random.choice(pids)
                with suppress(ProcessLookupError):
                    # One that is stopped before it has begun takes a minute: that is done seldom.
                    soft = has_begun(victim) or trial.random.random() < trial.pick(0.0, 0.1)
                    os.kill(victim, trial.random.choice((signal.SIGKILL, *[signal.SIGSTOP] * soft)))
                    stricken.add(victim)
                    hits += 1
            check(trial, file.readline().decode().rstrip("\n"))
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
            stricken = pool_pids(host) if trial.random.random() < 0.5 else set()
            for pid in stricken:
                os.kill(pid, signal.SIGKILL)
            wait_for_processes(trial, host, stricken)
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
