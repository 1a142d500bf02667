"""What the processes of pools do while they are compared: it must be found by its name there."""

from __future__ import annotations

import os
import time


def nap(seconds: float) -> float:
    """Be a task that takes a while."""
    time.sleep(seconds)
    return seconds


def give(value: object) -> object:
    """Be a tiny task."""
    return value


def pid(seconds: float) -> int:
    """Return who does it, after a while in which others get one, too."""
    time.sleep(seconds)
    return os.getpid()
