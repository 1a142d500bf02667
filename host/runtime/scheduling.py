"""How the kernel is asked to share CPUs out between this process and others (sched(7))."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress


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
