"""What the kernel counts of a process: CPU time, calls that read, address space."""

from __future__ import annotations

import ctypes
import os
import time

from host.runtime.libc import libc


def cpu_seconds(pid: int) -> float | None:
    """Return how long all threads of a process have run, in seconds; None if it has ended.

    It is what clock_getcpuclockid(3) gives: exact, where the ticks of proc_pid_stat(5) are 10 ms.
    """
    clock = ctypes.c_int()
    if libc.clock_getcpuclockid(pid, ctypes.byref(clock)) != 0:
        return None
    try:
        return time.clock_gettime(clock.value)
    except OSError:  # it has ended just now
        return None


def is_running(pid: int) -> bool:
    """Tell whether a process is there and has not ended, reaped or not (proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (OSError, IndexError):
        return False


def read_calls(pid: int) -> int | None:
    """Return how often a process has called read(2) and its like (proc_pid_io(5), syscr).

    Returns:
        The number, or None if the process has ended, is another user's, or the kernel does not
        count (CONFIG_TASK_IO_ACCOUNTING).
    """
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as file:
            counts = dict(line.split() for line in file)
        return int(counts["syscr:"])
    except (OSError, KeyError, ValueError):
        return None


def address_space() -> int:
    """Return how many bytes this process has mapped, used or not (proc_pid_statm(5)); 0 if unknown.

    That is what RLIMIT_AS limits (getrlimit(2)).
    """
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
