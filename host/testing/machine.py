"""How slow the machine is, so that a limit of time means the same while others use it, too."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path

PRESSURE = Path("/proc/pressure/cpu")
NUMBERS = 2_000_000
IDLE_SECONDS = 0.045
"""How long the interpreter takes to add so many numbers where the limits were chosen."""
MOST = 10.0
"""A machine that is slower than this can judge nothing."""


@functools.cache
def slowness() -> float:
    """Return how many times longer a piece of work takes here; at least 1.

    It is measured once, by core and interpreter: others have no part in CPU time.
    """
    began = time.thread_time()
    sum(range(NUMBERS))
    return min(MOST, max(1.0, (time.thread_time() - began) / IDLE_SECONDS))


class Stopwatch:
    """Measures how long something takes, and how busy the machine is meanwhile.

    Args:
        clock: tells the time in seconds.
        pressure: where the kernel tells how long somebody has waited for a CPU: in the form of its
            Documentation/accounting/psi.rst. Where there is no such file nobody ever waits.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, pressure: Path = PRESSURE
    ) -> None:
        self._clock, self._pressure = clock, pressure
        self._began, self._stalled = clock(), _stalled(pressure)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return self._clock() - self._began

    def scaled(self, seconds: float) -> float:
        """Return in what time is done here, meanwhile, what takes `seconds` on an idle machine.

        While somebody waits for a CPU everything may take longer, and nobody knows by how much:
        the time in which nobody does has to be enough.
        """
        stalled = _stalled(self._pressure) - self._stalled
        return seconds * _factor(stalled / max(self.seconds, 1e-6))

    def left(self, seconds: float) -> float:
        """Return how long to wait on, at present, for what takes `seconds` on an idle machine."""
        return max(0.0, max(seconds, self.scaled(seconds)) - self.seconds)

    def has_passed(self, seconds: float) -> bool:
        """Tell whether that is over for which `seconds` are enough on an idle machine."""
        return not self.left(seconds)


def patience(seconds: float, pressure: Path = PRESSURE) -> float:
    """Return a time-out for what takes at most `seconds` on an idle machine.

    For calls that nobody can prolong, such as settimeout() of a socket; what waits by itself asks a
    `Stopwatch`, which knows better. It goes by the last ten seconds.
    """
    return seconds * _factor(_field("avg10", pressure) / 100.0)


def _factor(stalled: float) -> float:
    """Return how many times longer things may take if somebody waits for that part of the time."""
    return slowness() * min(MOST, 1.0 / max(1.0 - stalled, 1.0 / MOST))


def _stalled(pressure: Path) -> float:
    """Return for how many seconds, since the machine started, somebody has waited for a CPU."""
    return _field("total", pressure) / 1e6


def _field(name: str, pressure: Path) -> float:
    """Return a field of the line `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`."""
    try:
        text = pressure.read_text()
    except OSError:
        return 0.0
    return float(text.partition(f"{name}=")[2].split()[0])
