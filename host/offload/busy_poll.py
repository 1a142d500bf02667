"""Looking for the answers of a pool without sleeping, where they come within microseconds."""

from __future__ import annotations

from host.offload.child import Attempts
from host.runtime.loop import Loop


class BusyPoll:
    """Keeps the loop from sleeping for a moment after a task was given.

    The kernel takes tens of microseconds to wake a process on a CPU that sleeps, which is most of
    what a tiny task takes. The loop takes its turns meanwhile: nobody waits for it.

    Args:
        loop: the worker's loop.
        seconds: for how long an answer is looked for; 0 to sleep at once.
    """

    def __init__(self, loop: Loop, seconds: float) -> None:
        self._loop, self._seconds = loop, seconds
        self._attempts = Attempts()
        self._process: object = None  # whose answer is looked for
        self._until = 0.0
        self._is_due = False

    def begin(self, process: object) -> None:
        """Note that a process was given a task."""
        if self._seconds and self._process is None and self._attempts.due():
            self._process = process
            self._until = self._loop.time() + self._seconds
            if not self._is_due:
                self._is_due = True
                self._loop.call_at(self._loop.now, self._look)

    def end(self, process: object) -> None:
        """Note that the answer of a process has come."""
        if process is self._process:
            self._process = None
            self._attempts.note(found=True)

    def _look(self) -> None:
        """Have the next turn come at once, until the answer has come or the time is up."""
        if self._process is not None and self._loop.now >= self._until:
            self._process = None
            self._attempts.note(found=False)
        self._is_due = self._process is not None
        if self._is_due:
            self._loop.call_at(self._loop.now, self._look)
