"""What /proc tells about a server: all its processes, their CPU time, memory, sockets, wake-ups."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_GONE = (FileNotFoundError, ProcessLookupError)


def _stat(pid: int) -> list[str]:
    """Return the fields of proc_pid_stat(5) from the third one, the state, on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(root: int) -> list[int]:
    """Return a process and all that descend from it, the root first."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            with suppress(*_GONE):
                children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def own_cpu_seconds(pid: int) -> float:
    """Return the CPU time of one living process without its children (clock_getcpuclockid(3)).

    Raises:
        OSError: there is no such process.
    """
    return time.clock_gettime((~pid << 3) | 2)


def cpu_seconds(root: int) -> float:
    """Return the CPU time, user and system, of a process tree and of all children it has reaped.

    The time of living processes is exact; that of reaped ones is known in clock ticks.
    """
    total = 0.0
    for pid in tree(root):
        with suppress(OSError):
            total += own_cpu_seconds(pid)
            total += sum(map(int, _stat(pid)[13:15])) * _TICK
    return total


def pss_kib(root: int) -> int:
    """Return the memory of a process tree; what processes share is divided among them (PSS)."""
    total = 0
    for pid in tree(root):
        with suppress(*_GONE):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total


def sockets(root: int) -> dict[int, int]:
    """Return how many sockets each process of a tree has open, the root's first."""
    counts = {}
    for pid in tree(root):
        count = 0
        with suppress(*_GONE):
            for entry in os.listdir(f"/proc/{pid}/fd"):
                with suppress(*_GONE):
                    count += os.readlink(f"/proc/{pid}/fd/{entry}").startswith("socket:")
        counts[pid] = count
    return counts


def sleeps(root: int) -> dict[int, int]:
    """Return how often the threads of each process of a tree have gone to sleep, ever."""
    counts = {}
    for pid in tree(root):
        with suppress(*_GONE):
            counts[pid] = sum(map(_sleeps_of, Path(f"/proc/{pid}/task").iterdir()))
    return counts


def _sleeps_of(task: Path) -> int:
    with suppress(*_GONE):
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                return int(line.split()[1])
    return 0
