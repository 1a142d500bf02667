"""Pools without a host: this process is the worker, and its loop turns when the test says so."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from host.ipc.scoreboard import WORKER_WORDS, Row
from host.offload.pools import MakePools
from host.offload.processes import ProcessPool
from host.runtime.loop import Loop
from host.settings import PoolSettings
from host.testing.machine import Stopwatch
from support.fakes import Told


class Client(SimpleNamespace):
    """What a pool needs of a connection; it is answered by calling it back."""

    __hash__ = object.__hash__

    def __init__(self) -> None:
        super().__init__(closed=False, answers=0, at_end={})

    def begin_answer(self) -> None:
        self.answers += 1

    def end_answer(self) -> None:
        self.answers -= 1

    def call_if_open(self, function: Callable[..., object], *args: object) -> None:
        if not self.closed:
            function(self, *args)

    def call_at_end(self, function: Callable[[], object]) -> None:
        self.at_end[function] = None

    def end(self) -> None:
        """Have it end, as a connection does."""
        self.closed = True
        for function in self.at_end:
            function()


class Bench:
    """A pool of processes on a loop.

    Attributes:
        counts: the scoreboard's counters by their number.
        told: the events.
    """

    def __init__(self, **settings: Any) -> None:
        self.loop, self.told, self.counts = Loop(), Told(), dict.fromkeys(range(WORKER_WORDS), 0)
        pools = {"p": PoolSettings(**settings)}
        self._size = pools["p"].size
        make = MakePools(pools, {})
        row = Row(self.counts, 0, 0, 0)
        self._pools = make(self.loop, _call, self.told.telemetry, 0, row)
        pool = self._pools.get("p")
        assert isinstance(pool, ProcessPool)
        self.pool = pool

    @property
    def pids(self) -> list[int]:
        """The processes of the pool."""
        return [each.pid for each in self.pool.processes]

    @property
    def is_complete(self) -> bool:
        """Whether there are as many processes as there are to be, and all have begun."""
        ready = [each for each in self.pool.processes if each.is_ready and not each.is_leaving]
        return len(ready) == self._size

    def run_until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        """Turn the loop until something holds."""
        watch = Stopwatch()
        while not condition():
            assert not watch.has_passed(seconds), f"not within {watch.seconds:.1f} s"
            self.loop.run_once(0.1)

    def begin(self) -> None:
        """Wait until all processes are ready."""
        self.run_until(lambda: self.is_complete)

    def close(self) -> None:
        """End all processes."""
        self._pools.close()
        self.loop.close()


@contextmanager
def bench(**settings: Any) -> Iterator[Bench]:
    """Have a pool; at the end nothing is left of it."""
    made = Bench(**settings)
    try:
        yield made
    finally:
        made.close()


def _call(function: Callable[[], object]) -> None:
    function()


# What is done in the processes


def own_pid(_item: object = None) -> int:
    """Return who does it."""
    return os.getpid()


def give(value: object) -> object:
    """Return what it is given."""
    return value


def fork(_item: object = None) -> int:
    """Come back twice: as itself, and as a fork."""
    os.fork()
    return os.getpid()


def nap(seconds: float) -> float:
    """Take a while."""
    time.sleep(seconds)
    return seconds


def say(count: int) -> int:
    """Print so many lines at once."""
    sys.stdout.write("".join(f"line {number}\n" for number in range(count)))
    return count
