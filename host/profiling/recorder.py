"""Profiling: what a worker's time goes to, measured around its hooks and its loop.

Everything is wrapped once: the plugins' functions when hooks are bound, the loop before its first
turn. Without a profile nothing is wrapped, so the hot path neither asks nor pays.

Each worker writes one file when it ends, named after its slot and pid. While it serves there is an
empty one with the ending `.part`; that of a worker that has died is left, which is how `collect`
knows that one is missing. Files of other runs of a host may be in the directory, too: a run has a
name that is in all of its files.
"""

from __future__ import annotations

import errno
import functools
import json
import math
import os
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from host.ipc.scoreboard import ACCEPTED_ALL, Row
from host.plugin.binding import Implementation
from host.plugin.timing import timing
from host.runtime.loop import Loop, Poll

ANYONE, CALLBACKS = "(any)", "callbacks"
"""What stands for plugin and hook where a plugin has asked to be called: timers, threads, the bus.
A callback does not say whose it is."""
_BUCKETS = 64


class Timing:
    """What one hook of one plugin has taken.

    Attributes:
        calls: how often it was called.
        seconds: in total, without what other timed calls took meanwhile.
        longest: the longest call, in seconds, with everything that was called in it.
    """

    __slots__ = ("calls", "longest", "seconds")

    def __init__(self) -> None:
        self.calls = 0
        self.seconds = self.longest = 0.0

    def add_call(self, seconds: float, inner: float) -> None:
        """Count a call, in which other timed calls took `inner` seconds."""
        self.calls += 1
        self.seconds += seconds - inner
        if seconds > self.longest:  # noqa: PLR1730 - max() would take as long as all of this
            self.longest = seconds


class Recorder:
    """Measures one worker, from before the fork, when nothing happens yet, to its end.

    Args:
        directory: where the file is written; it exists.
        run: the name of this run of the host.
        clock: the clock, in seconds.

    Attributes:
        slow_seconds: how long a call may take.
        on_slow: called with plugin and hook of each call that has taken longer.
    """

    def __init__(
        self, directory: Path, run: str, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._directory, self._run, self._clock = directory, run, clock
        self._timings: dict[tuple[str, str], Timing] = {}
        self.slow_seconds = math.inf
        self.on_slow: Callable[[str, str], object] = lambda _plugin, _hook: None
        self._inner = 0.0  # what timed calls have taken within the one that is under way
        self._last = self._began = clock()  # `_last`: when the last wait or turn was over
        self._waits = self._events = 0
        self._waiting = self._busy = self._longest = 0.0
        self._turns = [0] * _BUCKETS
        self._row: Row | None = None
        self._accepted = 0
        self._file = self._part = directory

    def timed(self, implementation: Implementation) -> Callable[..., Any]:
        """Return what to call in the place of a plugin's function."""
        each = implementation
        return timing(each, functools.partial(self.time, each.plugin, each.hook))

    def time(self, plugin: str, hook: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what to call in a function's place; its time counts for that plugin and hook."""
        clock, add_call = self._clock, self._timing(plugin, hook).add_call

        def timed(*args: object) -> Any:
            outer, self._inner = self._inner, 0.0
            began = clock()
            try:
                return function(*args)
            finally:
                took = clock() - began
                add_call(took, self._inner)
                self._inner = outer + took
                if took > self.slow_seconds:
                    self.on_slow(plugin, hook)

        return timed

    def _timing(self, plugin: str, hook: str) -> Timing:
        return self._timings.setdefault((plugin, hook), Timing())

    def attend(self, loop: Loop, row: Row, name: str) -> None:
        """Measure the worker's loop from now on; what it calls at rest is set already.

        Args:
            loop: the worker's loop, before its first turn.
            row: the worker's row of the scoreboard, which counts what it accepts.
            name: the name of the worker's file, without its ending.
        """
        self._row, self._accepted = row, row.get(ACCEPTED_ALL)
        self._last = self._began = self._clock()
        loop.observe(self._time_poll)
        loop.on_turn_end = self._time_rest(loop.on_turn_end)
        self._part = self._directory / f"{name}.{self._run}.part"
        self._file = self._directory / f"{name}.json"
        with suppress(OSError):  # to be told when the file is written, if it cannot be
            self._part.touch()

    def _time_poll(self, poll: Poll) -> Poll:
        clock = self._clock

        def waited(timeout: float | None, most: int) -> list[tuple[int, int]]:
            events = poll(timeout, most)
            now = clock()
            self._waiting += now - self._last
            self._last = now
            self._waits += 1
            self._events += len(events)
            return events

        return waited

    def _time_rest(self, rest: Callable[[], object]) -> Callable[[], object]:
        """Have the end of each turn noted: a turn is what lies between two waits."""
        clock, turns = self._clock, self._turns

        def rested() -> None:
            rest()
            now = clock()
            took = now - self._last
            self._last = now
            self._busy += took
            turns[int(took * 1e6).bit_length()] += 1
            if took > self._longest:  # noqa: PLR1730 - as above
                self._longest = took

        return rested

    def save(self, slot: int, generation: int) -> None:
        """Write the worker's file, at once whole; its `.part` is gone then.

        Raises:
            OSError: it cannot be written.
        """
        record = {"run": self._run, "slot": slot, "pid": os.getpid(), "generation": generation}
        self._part.write_text(json.dumps(record | self.measured(), indent=1) + "\n")
        self._part.replace(self._file)

    def measured(self) -> dict[str, Any]:
        """Return everything that was measured; times in seconds.

        `turns` counts turns of the loop by their length: at first those below a microsecond, then
        those below 2, 4, 8 and so on.
        """
        used = resource.getrusage(resource.RUSAGE_SELF)
        buckets = max((place for place, count in enumerate(self._turns, 1) if count), default=0)
        accepted = self._row.get(ACCEPTED_ALL) - self._accepted if self._row else 0
        return {
            "seconds": self._clock() - self._began,
            "busy": self._busy,
            "waiting": self._waiting,
            "waits": self._waits,
            "events": self._events,
            "turns": self._turns[:buckets],
            "longest_turn": self._longest,
            "accepted": accepted,
            "user": used.ru_utime,
            "system": used.ru_stime,
            "voluntary_switches": used.ru_nvcsw,
            "involuntary_switches": used.ru_nivcsw,
            "hooks": [
                {
                    "plugin": plugin,
                    "hook": hook,
                    "calls": timing.calls,
                    "seconds": timing.seconds,
                    "longest": timing.longest,
                }
                for (plugin, hook), timing in self._timings.items()
                if timing.calls
            ],
        }


def run_name() -> str:
    """Return a name for this run of a host, by its supervisor: the same after an exec.

    It is the pid with the time since boot at which the process began (proc(5), stat), which an
    exec does not change.
    """
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        began = file.read().rpartition(")")[2].split()[19]
    return f"{os.getpid()}-{began}"


def prepare(directory: str, run: str) -> Path:
    """Make the directory if need be, and see that files can be written there; return its path.

    Raises:
        OSError, ValueError: they cannot, or it is no path.
    """
    path = Path(directory).absolute()
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    path.mkdir(parents=True, exist_ok=True)
    probe = path / f".{run}.part"
    probe.touch()
    probe.unlink()
    return path


def collect(directory: Path, run: str) -> tuple[list[dict[str, Any]], int]:
    """Return what the workers of a run have written, and how many have left nothing.

    No worker of it lives any more: what the dead have left behind is removed.
    """
    found = []
    for path in directory.glob("worker-*.json"):
        with suppress(OSError, ValueError):
            record = json.loads(path.read_text())
            if isinstance(record, dict) and record.get("run") == run:
                found.append(record)
    missing = 0
    for part in directory.glob(f"worker-*.{run}.part"):
        missing += 1
        with suppress(OSError):
            part.unlink()
    return sorted(found, key=lambda record: (record["slot"], record["pid"])), missing
