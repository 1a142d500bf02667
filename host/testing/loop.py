"""A loop without a kernel: time passes when the test says so."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

from host.runtime.loop import TimerHandle

MOST_TURNS = 1_000_000
"""A test that takes more turns than that at once goes round in circles."""


class Source(Protocol):
    """What can be watched."""

    def ready(self) -> int:
        """Return the events that it is ready for."""


class FakeLoop:
    """The loop of all workers of one test.

    The host's own classes call the methods that the real loop has, too. Tests call `run` and
    `advance`; fake connections, workers and the bus call `number`, `attach` and `detach`.

    Attributes:
        now: the clock. It starts at `time.monotonic()` and moves with `advance` only.
        rests: called at the end of each turn; true if one of them has found something to do.
    """

    def __init__(self) -> None:
        self.now = time.monotonic()
        self.rests: list[Callable[[], bool]] = []
        self._sources: dict[int, Source] = {}
        self._watched: dict[int, tuple[int, Callable[[int], object]]] = {}
        self._timers: list[TimerHandle] = []
        self._calls: list[Callable[[], object]] = []
        self._numbers = 100
        self._running = False

    def time(self) -> float:
        """Return what the clock says: within a turn it stands still."""
        return self.now

    def add(self, fd: int, events: int, handler: Callable[[int], object]) -> None:
        """Watch a source."""
        self._watched[fd] = (events, handler)

    def modify(self, fd: int, events: int) -> None:
        """Change what a source is watched for."""
        self._watched[fd] = (events, self._watched[fd][1])

    def remove(self, fd: int) -> None:
        """Stop watching a source."""
        self._watched.pop(fd, None)

    def call_at(self, when: float, function: Callable[[], object]) -> TimerHandle:
        """Call `function` once when the clock is at `when`."""
        timer = TimerHandle(when, function)
        self._timers.append(timer)
        return timer

    def call_later(self, seconds: float, function: Callable[[], object]) -> TimerHandle:
        """Call `function` once, when that much time has passed."""
        return self.call_at(self.now + seconds, function)

    def call_from_thread(self, function: Callable[[], object]) -> None:
        """Call `function` in the next turn."""
        self._calls.append(function)

    def number(self) -> int:
        """Return a number for a source."""
        self._numbers += 1
        return self._numbers

    def attach(self, number: int, source: Source) -> None:
        """Say which source a number means."""
        self._sources[number] = source

    def detach(self, number: int) -> None:
        """Forget a source."""
        self._sources.pop(number, None)
        self.remove(number)

    def run(self) -> bool:
        """Run turns until nothing is left to be done now; return whether anything was done."""
        if self._running:  # a plugin's function, called by a turn, has called the test
            return False
        self._running = True
        try:
            for turn in range(MOST_TURNS):
                if not self._turn():
                    return turn > 0
        finally:
            self._running = False
        raise AssertionError(f"not done after {MOST_TURNS} turns: it goes round in circles")

    def advance(self, seconds: float) -> None:
        """Let time pass; each timer is called when it is due."""
        self.run()
        end = self.now + seconds
        while self.advance_to_next(end):
            pass
        self.now = end

    def advance_to_next(self, end: float = math.inf) -> bool:
        """Let time pass until the next timer is due, and call it; return whether there was one.

        Args:
            end: no timer after that counts.
        """
        timer = self._next_timer()
        if timer is None or timer.when > end:
            return False
        self.now = max(self.now, timer.when)
        self._timers.remove(timer)
        function, timer.function = timer.function, None
        if function is not None:
            function()
        self.run()
        return True

    def _next_timer(self) -> TimerHandle | None:
        self._timers = [timer for timer in self._timers if timer.function is not None]
        return min(self._timers, key=lambda timer: timer.when, default=None)

    def _turn(self) -> bool:
        busy = False
        calls, self._calls = self._calls, []
        for call in calls:
            busy = True
            call()
        for fd, (wanted, handler) in tuple(self._watched.items()):
            source = self._sources.get(fd)
            mask = source.ready() & wanted if source is not None else 0
            if mask and fd in self._watched:
                busy = True
                handler(mask)
        for rest in tuple(self.rests):
            busy |= rest()
        return busy
