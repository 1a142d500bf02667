"""What the kernel ends when memory runs out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from host.testing.machine import Stopwatch
from storm.hosts import StormHost, soon
from storm.reloading import reload_once
from storm.rows import Trial, row
from support.address import connect
from support.hosting import SUPPORT

GROWING = str(SUPPORT / "growing.py")
MB = 1_000_000
WORKERS = 8
OUT_OF_MEMORY = "killed by SIGKILL, out of memory"


class Case(NamedTuple):
    """How a host comes to want memory.

    Attributes:
        grows: the slot of the one worker that grows, or -1 for all, evenly.
        spare: how many bytes they may use beyond what they have when they are ready.
        reloads: whether the host has been reloaded before.
    """

    grows: int
    spare: int
    reloads: bool

    def __str__(self) -> str:
        who = "one grows" if self.grows >= 0 else f"{WORKERS} grow"
        return f"{who}, {self.spare // MB} MB{', after a reload' if self.reloads else ''}"


CASES = [
    Case(grows, spare * MB, reloads)
    for reloads in (False, True)
    for spare in (20, 60)
    for grows in (-1, 0)
]


@row(
    35,
    f"memory runs out in a cgroup (v1; elsewhere by the score): {WORKERS} workers that grow evenly,"
    " or one that grows",
    "the kernel takes a worker, never the supervisor; said so, and the slot is filled again",
)
def out_of_memory(trial: Trial) -> str:
    cases = CASES[: trial.pick(2, len(CASES))]
    try:
        with memory_group():
            pass
    except OSError as error:
        scores = judge_scores(trial, trial.start(GROWING, workers=WORKERS))
        return f"no memory cgroup (v1) can be made ({error.strerror}), so by the score: {scores}"
    deaths = sum(grow(trial, case) for case in cases)
    return f"{len(cases)} ways: the kernel has ended {deaths} workers"


def judge_scores(trial: Trial, host: StormHost) -> str:
    """Judge whom the kernel would end, by the scores that it tells (proc_pid_oom_score(5))."""
    own, *others = (
        int(Path(f"/proc/{pid}/oom_score").read_text())
        for pid in (host.pid, *host.workers.values())
    )
    trial.must(own < min(others), f"the supervisor scores {own}, workers {others}")
    return f"supervisor {own}, workers at least {min(others)}"


def grow(trial: Trial, case: Case) -> int:
    """Have workers grow until the kernel has ended some; return how many."""
    with memory_group() as group:
        host = trial.start(
            GROWING,
            workers=WORKERS,
            settings={"options.growing.slot": case.grows},
            wrapper=started_in(group),
        )
        if case.reloads:
            reload_once(host)
        judge_scores(trial, host)
        limit = group / "memory.limit_in_bytes"
        free = limit.read_text()
        leave_bytes(group, case.spare)
        wanted = trial.pick(1, 3)
        feed(host, wanted)
        limit.write_text(free)  # the end of the host is not what is judged
        died = [each for each in host.events("worker_died") if each["cause"] == OUT_OF_MEMORY]
        others = [each for each in host.events("worker_died") if each not in died]
        trial.must(host.alive, f"{case}: the host has ended")
        trial.must(len(died) >= wanted, f"{case}: only {len(died)} of {wanted} workers were ended")
        trial.must(not others, f"{case}: workers died of something else: {others[:2]}")
        back = soon(lambda: len(ready_of(host)) == WORKERS, 10.0)
        trial.must(back, f"{case}: slots stay empty, only {sorted(ready_of(host))} are filled")
        trial.broken += host.finish()
    return len(died)


def ready_of(host: StormHost) -> dict[int, int]:
    """Return the workers that are ready and have not died, by slot."""
    dead = {each["pid"] for each in host.events("worker_died")}
    return {slot: pid for slot, pid in host.workers.items() if pid not in dead}


def feed(host: StormHost, deaths: int) -> None:
    """Send lines, each on a connection of its own, until so many workers have died."""
    watch = Stopwatch()
    while host.alive and len(host.events("worker_died")) < deaths and not watch.has_passed(30.0):
        with suppress(OSError), connect(host.address, 3.0) as client:
            client.sendall(b"more\n")
            client.recv(100)


@contextmanager
def memory_group() -> Iterator[Path]:
    """Make a group below this process's own in the memory hierarchy of cgroups v1.

    Raises:
        OSError: there is no such hierarchy, or this process may not make a group in it.
    """
    groups = Path("/proc/self/cgroup").read_text().splitlines()
    mine = [line.split(":", 2)[2] for line in groups if "memory" in line.split(":")[1].split(",")]
    if not mine:
        raise FileNotFoundError(2, "there is no such hierarchy")
    group = Path(f"/sys/fs/cgroup/memory{mine[0]}") / f"storm-{time.monotonic_ns()}"
    group.mkdir()
    try:
        yield group
    finally:
        soon(lambda: _is_removed(group), 5.0)


def started_in(group: Path) -> tuple[str, ...]:
    """Return the command that runs another one in a group."""
    return ("/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(group))


def leave_bytes(group: Path, spare: int) -> None:
    """Have a group use so many bytes more than it does now, and no more than that."""
    used = int((group / "memory.usage_in_bytes").read_text())
    (group / "memory.limit_in_bytes").write_text(str(used + spare))


def _is_removed(group: Path) -> bool:
    """Remove a group, which is refused as long as a process is in it."""
    with suppress(OSError):
        group.rmdir()
    return not group.exists()
