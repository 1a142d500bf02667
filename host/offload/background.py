"""How a process computes without keeping who serves from a CPU: a part of its program (`child`)."""

from __future__ import annotations

import ctypes
import os
import struct
from contextlib import suppress

_TURN_NANOSECONDS = 8_000_000
"""What wakes with a shorter turn goes before; the kernel gives others 1 to 3 ms."""
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274, "ppc64le": 355, "s390x": 345}
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""Size, policy, flags, niceness, priority, and the turn (runtime, deadline, period)."""


def compute_in_background(nice: int, *, only_idle_cpu: bool) -> None:
    """Come second to those who serve, as far as the kernel does that (sched(7), sched_setattr(2)).

    The kernel shares CPUs out by weight, and lets a process that wakes, or has begun its turn, go
    on for milliseconds however nice it is. So this one preempts nobody when it wakes
    (SCHED_BATCH), and asks for long turns, which others may cut short (Linux 6.12). A policy that
    is not the usual one is left alone, and what a filter of system calls refuses is left out.

    Args:
        nice: how much nicer it is than the worker (nice(2)).
        only_idle_cpu: whether it runs where a CPU has nothing else to do (SCHED_IDLE).

    Raises:
        OSError: it may not have CPUs that are idle only.
    """
    with suppress(OSError):
        os.nice(nice)
    if only_idle_cpu:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        return
    with suppress(OSError):
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            _ask_for_long_turns(os.getpriority(os.PRIO_PROCESS, 0))


def _ask_for_long_turns(nice: int) -> None:
    """Ask for them; a kernel that does not know them does nothing."""
    number = _sched_setattr(os.uname().machine, struct.calcsize("P"))
    if number is not None:
        turn = (_TURN_NANOSECONDS, 0, 0)
        wanted = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_BATCH, 0, nice, 0, *turn)
        ctypes.CDLL(None).syscall(number, 0, wanted, 0)


def _sched_setattr(machine: str, pointer_bytes: int) -> int | None:
    """Return the number of the system call; None if it is not known.

    A program of 32 bits has other numbers, also where the kernel, and so the machine, has 64.
    """
    return _SCHED_SETATTR.get(machine) if pointer_bytes == 8 else None
