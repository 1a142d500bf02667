"""How the kernel is asked to share CPUs out between this process and others (sched(7))."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import suppress

_SWITCH = "/proc/sys/kernel/sched_autogroup_enabled"
_STEP = 1.25
"""How much less of a CPU one more of niceness is (sched(7))."""
NICEST = 19


def groups_by_session() -> bool:
    """Tell whether the kernel shares CPUs out between sessions, and then within each (sched(7)).

    That is its autogroup feature: how nice a process is counts within its session alone, so one
    that computes takes as much from others, such as clients on this machine, as the whole host.
    """
    try:
        with open(_SWITCH, encoding="ascii") as file:
            return file.read().strip() == "1" and os.access("/proc/self/autogroup", os.W_OK)
    except OSError:
        return False


def have_session_give_way(pid: int, niceness: int) -> bool:
    """Have a session that is a process's own get as little as the process gets by being nice.

    The share of the host's session is that of all its workers together, so this is nicer by as
    much as there are CPUs for them. A session of others, such as the host's, is left alone.

    Args:
        pid: the process.
        niceness: how nice it is beside a worker (nice(2)).

    Returns:
        False if it has to be tried again a moment later: who is not privileged may do it ten times
        a second, all together.
    """
    among_cpus = math.log(len(os.sched_getaffinity(0)), _STEP)
    try:
        if os.getsid(pid) != pid:  # there are no groups here, or nobody could tell
            return True
        with open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as file:
            file.write(str(min(NICEST, niceness + round(among_cpus))))
    except BlockingIOError:
        return False
    except OSError:  # it has ended, or this is not allowed here
        pass
    return True


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
