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


def compute(rounds: int) -> int:
    """Be a task that keeps a CPU busy, and holds the lock of the interpreter all the time."""
    value = 0
    for number in range(rounds):
        value += number * number
    return value
