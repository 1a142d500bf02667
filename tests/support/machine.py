"""How slow the machine is, so that a limit of time means the same while others use it, too."""

from __future__ import annotations

import time
from pathlib import Path

PRESSURE = Path("/proc/pressure/cpu")
NUMBERS = 2_000_000
IDLE_SECONDS = 0.045
"""How long the interpreter takes to add so many numbers where the limits were chosen."""
MOST = 10.0
"""A machine that is slower than this can judge nothing."""


def _slowness() -> float:
    """Return how many times longer a piece of work takes here; at least 1."""
    began = time.thread_time()
    sum(range(NUMBERS))
    return min(MOST, max(1.0, (time.thread_time() - began) / IDLE_SECONDS))


SLOWNESS = _slowness()
"""How much slower core and interpreter are, measured once; others have no part in CPU time."""


def _stalled() -> float:
    """Return for how many seconds, since the machine started, somebody has waited for a CPU.

    See the kernel's Documentation/accounting/psi.rst. Where it does not count that, it is 0.
    """
    try:
        total = PRESSURE.read_text().split("total=")[1].split()[0]
    except OSError:
        return 0.0
    return int(total) / 1e6


class Stopwatch:
    """Measures how long something takes, and how busy the machine is meanwhile."""

    def __init__(self) -> None:
        self._began, self._stalled = time.monotonic(), _stalled()

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._began

    def scaled(self, seconds: float) -> float:
        """Return in what time is done here, meanwhile, what takes `seconds` on an idle machine.

        While somebody waits for a CPU everything may take longer, and nobody knows by how much:
        the time in which nobody does has to be enough.
        """
        free = 1.0 - min(1.0, (_stalled() - self._stalled) / max(self.seconds, 1e-6))
        return seconds * SLOWNESS * min(MOST, 1.0 / max(free, 1.0 / MOST))

    def has_passed(self, seconds: float) -> bool:
        """Tell whether that is over for which `seconds` are enough on an idle machine."""
        return self.seconds > seconds and self.seconds > self.scaled(seconds)
