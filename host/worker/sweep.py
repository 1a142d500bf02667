"""Adds to the scoreboard what open connections have read and sent, again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol

from host.interfaces import Timer
from host.worker.connection import SocketConnection
from host.worker.context import OpenConnections

SWEEP_SECONDS = 5.0
"""So old are the sums of the scoreboard at most; 60,000 connections then take 1 % of a core."""
SLICE = 500
"""How many connections are looked at in one turn, which takes 0.4 ms: others are not kept."""


class Clock(Protocol):
    """What `Sweep` needs of the loop."""

    @property
    def now(self) -> float:
        """The clock at the start of the present turn, in seconds."""

    def call_at(self, when: float, function: Callable[[], object]) -> Timer:
        """Call `function` once at `when`."""

    def call_from_thread(self, function: Callable[[], object]) -> None:
        """Call `function` in the next turn."""


class Sweep:
    """Goes through the open connections, a slice in each turn, and counts their bytes.

    A connection that ends counts its own; without the sweep one that lives for long would not be
    seen in the sums of the scoreboard.

    Args:
        loop: tells the time and calls back.
        connections: the worker's connections.
    """

    def __init__(self, loop: Clock, connections: OpenConnections) -> None:
        self._loop, self._open = loop, connections.open
        self._left: Iterator[SocketConnection] = iter(())

    def wait(self) -> None:
        """Sweep once a while from now on."""
        self._loop.call_at(self._loop.now + SWEEP_SECONDS, self._begin)

    def _begin(self) -> None:
        self._left = iter(list(self._open))  # of those that end meanwhile nothing is left to count
        self._go_on()

    def _go_on(self) -> None:
        some = list(islice(self._left, SLICE))
        for connection in some:
            connection.count_bytes()
        if len(some) == SLICE:
            self._loop.call_from_thread(self._go_on)
        else:
            self.wait()
