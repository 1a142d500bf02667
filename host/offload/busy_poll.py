"""Looking for the answers of a pool without sleeping, where they come within microseconds."""

from __future__ import annotations

import os

from host.offload.child import Attempts
from host.runtime.loop import Loop


class BusyPoll:
    """Keeps the loop from sleeping for a moment after a task was given.

    The kernel takes tens of microseconds to wake a process on a CPU that sleeps, which is most of
    what a tiny task takes. The loop takes its turns meanwhile: nobody waits for it. With one CPU
    alone the process could not do the task while it is polled for.

    Args:
        loop: the worker's loop.
        seconds: for how long an answer is looked for; 0 to sleep at once.
    """

    def __init__(self, loop: Loop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds if len(os.sched_getaffinity(0)) > 1 else 0.0
        self._attempts = Attempts()
        self._until = 0.0  # 0 if nothing is looked for
        self._is_due = False

    def begin(self) -> None:
        """Note that a task was given."""
        if self._seconds and not self._until and self._attempts.due():
            self._until = self._loop.time() + self._seconds
            if not self._is_due:
                self._is_due = True
                self._loop.call_at(self._loop.now, self._look)

    def end(self) -> None:
        """Note that an answer has come."""
        if self._until:
            self._until = 0.0
            self._attempts.note(found=True)

    def _look(self) -> None:
        """Have the next turn come at once, until the time is up."""
        if self._until and self._loop.now >= self._until:
            self._until = 0.0
            self._attempts.note(found=False)
        self._is_due = self._until > 0
        if self._is_due:
            self._loop.call_at(self._loop.now, self._look)
