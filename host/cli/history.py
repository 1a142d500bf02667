"""What a host has done from one look at its state to the next: rates, and how they have been."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from host.cli.screen import accepted

MEASURES = ("active", "accepted", "events", "cpu")
"""What is measured of each worker and of all together: connections that are open, those accepted a
second, events handled a second, and seconds of CPU time a second."""
_LONG, _SHORT = 300, 120
"""How many looks are kept of all workers together, and of each: as many as a screen has columns."""
_SHORTEST_SECONDS = 0.5
"""Between two looks: a rate of less would say little. CPU time is counted at each switch only."""
_LEVELS, _ASCII_LEVELS = "▁▂▃▄▅▆▇█", "_.:-=+*#"


class Counts(NamedTuple):
    """What was counted up to a moment; None is not known.

    Attributes:
        at: the moment, in seconds since the counting began.
        accepted: connections that were accepted.
        reads: calls of read(2); one is made for each event of a connection.
        cpu: seconds of CPU time.
    """

    at: float
    accepted: float | None = None
    reads: float | None = None
    cpu: float | None = None


class Measured(NamedTuple):
    """What is measured of a worker, or of all: see `MEASURES`; None is not known."""

    active: float | None
    accepted: float | None
    events: float | None
    cpu: float | None


def _rates(before: Counts, now: Counts) -> list[float | None]:
    """Return how fast each of three has grown; none falls, unless it was counted anew."""
    elapsed = now.at - before.at
    return [
        None if old is None or new is None or elapsed <= 0 else max(0.0, new - old) / elapsed
        for old, new in zip(before[1:], now[1:], strict=True)
    ]


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


@dataclass(slots=True)
class _Worker:
    counts: Counts
    measured: Measured
    past: deque[Measured] = field(default_factory=lambda: deque(maxlen=_SHORT))


class History:
    """Keeps what was measured at each look.

    At the first look at a worker its rates are averages since its start, as those of top(1) are.
    All times are the host's own, so it does not matter how late an answer comes.

    Attributes:
        total: what is measured of all workers together.
        supervisor: seconds of CPU time a second of the supervisor.
    """

    def __init__(self) -> None:
        self._host: int | None = None
        self._begin(None)

    def _begin(self, host: int | None) -> None:
        self._host = host
        self._counts: Counts | None = None
        self._workers: dict[int, _Worker] = {}
        self._accepted: dict[tuple[int, int], int] = {}
        self._listeners: dict[int, float] = {}
        self._past: deque[Measured] = deque(maxlen=_LONG)
        self.total = Measured(None, None, None, None)
        self.supervisor: float | None = None

    def update(self, status: Mapping[str, Any]) -> None:
        """Take note of a state; one that comes too soon after the last changes no rate."""
        if status["pid"] != self._host:  # another host has the name now
            self._begin(status["pid"])
        counts = Counts(status["uptime_seconds"], cpu=status["cpu_seconds"])
        before = self._counts or Counts(0.0, cpu=0.0)
        if counts.at - before.at < _SHORTEST_SECONDS and self._counts is not None:
            return
        self._counts, self.supervisor = counts, _rates(before, counts)[2]
        self._update_listeners(status, counts.at - before.at)
        self._workers = {each["pid"]: self._look(each) for each in status["workers"]}
        columns = zip(*(each.measured for each in self._workers.values()), strict=True)
        self.total = Measured(*map(_sum, columns)) if self._workers else Measured(0, 0, 0, 0)
        self._past.append(self.total)

    def _look(self, worker: Mapping[str, Any]) -> _Worker:
        counts = Counts(
            worker["age_seconds"], worker["accepted"], worker["reads"], worker["cpu_seconds"]
        )
        known = self._workers.get(worker["pid"])
        if known is None or known.counts.at > counts.at:  # a pid may be given again
            rates = _rates(Counts(0.0, 0, 0, 0.0), counts)
            known = _Worker(counts, Measured(worker["active"], *rates))
        elif counts.at > known.counts.at:
            rates = _rates(known.counts, counts)
            known.counts, known.measured = counts, Measured(worker["active"], *rates)
        known.past.append(known.measured)
        return known

    def _update_listeners(self, status: Mapping[str, Any], elapsed: float) -> None:
        """Each generation counts anew: at its first look it has no rates."""
        generation, before = status["generation"], self._accepted
        self._accepted = {
            (generation, each["index"]): accepted(each) for each in status["listeners"]
        }
        self._listeners = {
            key[1]: max(0, count - before[key]) / elapsed
            for key, count in self._accepted.items()
            if key in before
        }

    def worker(self, pid: int) -> Measured:
        """Return what is measured of a worker."""
        found = self._workers.get(pid)
        return Measured(None, None, None, None) if found is None else found.measured

    def listener(self, index: int) -> float | None:
        """Return how many connections a second were accepted from a listener."""
        return self._listeners.get(index)

    def past(self, measure: str, pid: int | None = None) -> Sequence[float | None]:
        """Return what was measured of a worker, or of all, at each look: the last one last."""
        place = MEASURES.index(measure)
        if pid is None:
            return [each[place] for each in self._past]
        found = self._workers.get(pid)
        return [] if found is None else [each[place] for each in found.past]


def sparkline(values: Sequence[float | None], width: int, *, ascii_only: bool = False) -> str:
    """Draw values as a line of `width` characters, the last ones at the right, from 0 upwards.

    Args:
        values: what is drawn; None leaves a gap.
        width: of how many there is room for.
        ascii_only: whether the terminal has no other characters.
    """
    levels = _ASCII_LEVELS if ascii_only else _LEVELS
    shown = list(values)[-width:] if width > 0 else []
    highest = max((value for value in shown if value is not None), default=0) or 1
    drawn = "".join(
        " " if value is None else levels[min(int(value / highest * 8), 7)] for value in shown
    )
    return drawn.rjust(max(0, width))
