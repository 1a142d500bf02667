"""How the kernel is asked to share CPUs out between this process and others (sched(7))."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Callable
from contextlib import suppress

from host.runtime.libc import last_error, libc

SHORT_TURN_SECONDS = 0.0001
"""The shortest turn that Linux grants."""
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")
_SYSCALLS = {"x86_64": 314, "aarch64": 274, "riscv64": 274, "s390x": 345, "ppc64le": 355}
"""The number of sched_setattr(2): the C library has had no function for it for long."""


class BatchScheduling:
    """Schedules this process so that it preempts nobody when it wakes (sched(7), SCHED_BATCH).

    It then runs when a core is free or the process on it stops, which on a busy machine is a
    little later, and finds more to do at once. Another policy than the usual one is left alone.

    Args:
        policy_of: returns the policy of a process (sched_getscheduler(2)).
        set_policy: sets it (sched_setscheduler(2)).
    """

    def __init__(
        self,
        policy_of: Callable[[int], int] = os.sched_getscheduler,
        set_policy: Callable[[int, int, os.sched_param], None] = os.sched_setscheduler,
    ) -> None:
        self._policy_of, self._set_policy = policy_of, set_policy
        self._begun = False

    def begin(self) -> None:
        """Begin; harmless where that is not allowed."""
        with suppress(OSError):
            if self._policy_of(0) == os.SCHED_OTHER:
                self._set_policy(0, os.SCHED_BATCH, os.sched_param(0))
                self._begun = True

    def end(self) -> None:
        """Be scheduled as before; also for a child of a process that has begun."""
        if self._begun:
            self._begun = False
            with suppress(OSError):
                self._set_policy(0, os.SCHED_OTHER, os.sched_param(0))


def take_short_turns(pid: int = 0) -> None:
    """Have a process let others that wake up have its CPU soon, whatever it does.

    Otherwise they wait until its turn is over, which takes some milliseconds, however nice it is.
    Linux grants it from 6.12 on (sched_setattr(2), `sched_runtime`); elsewhere nothing happens.
    Threads and children that it makes later do the same, unless their policy is set.

    Args:
        pid: the process; 0 for this one.
    """
    with suppress(OSError, KeyError):
        number = _SYSCALLS[platform.machine()]
        policy = os.sched_getscheduler(pid) & ~os.SCHED_RESET_ON_FORK
        nice = os.getpriority(os.PRIO_PROCESS, pid)
        turn = int(SHORT_TURN_SECONDS * 1e9)
        attributes = _SCHED_ATTR.pack(_SCHED_ATTR.size, policy, 0, nice, 0, turn, 0, 0)
        if libc.syscall(number, pid, ctypes.c_char_p(attributes), 0):
            raise last_error()
