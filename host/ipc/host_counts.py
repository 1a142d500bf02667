"""What the supervisor counts of the host as a whole, in memory that its children share."""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Iterable, Mapping
from contextlib import suppress
from enum import IntEnum

from host.ipc.scoreboard import WORD
from host.settings.models import MAX_WORKERS
from host.telemetry.emitter import Record
from host.telemetry.events import EVENTS, LINES_DROPPED


class Restart(IntEnum):
    """Why a worker was replaced."""

    DIED = 0
    HUNG = 1
    OUT_OF_MEMORY = 2
    FAILED_TO_START = 3
    RECYCLED = 4


_BEAT, _BRIDGE_BEAT, _BUS, _BUS_QUEUED, _EXECUTING, _SLOTS = range(6)
_OPS_DROPPED, _BRIDGE_DROPPED, _ENDING, _FIRST_EVENT = range(6, 10)
_AWAY, _CONNECTED = 1, 2
_NUMBERS = {event.name: number for number, event in enumerate(EVENTS, _FIRST_EVENT)}
_DROPPED = (_NUMBERS[LINES_DROPPED.name], _OPS_DROPPED, _BRIDGE_DROPPED)
_FIRST_RESTART = _FIRST_EVENT + len(EVENTS)
_MOST_WRITTEN = 1 << 20
_WORDS = _FIRST_RESTART + MAX_WORKERS * len(Restart)


class HostCounts:
    """Counts that the supervisor writes, and the beats of helper processes, which those write.

    The memory is shared with processes that are forked from now on; it ends with the last of them.

    Args:
        events: how often each event was told, by its name, by a supervisor before an exec; names
            that this one does not have are left out.
        restarts: how many workers were replaced, by slot and cause.
    """

    def __init__(
        self, events: Mapping[str, int] | None = None, restarts: Iterable[tuple[int, int, int]] = ()
    ) -> None:
        self._map = mmap.mmap(-1, _WORDS * WORD)
        self._cells = memoryview(self._map).cast("Q")
        self._file: int | None = None
        for name, count in (events or {}).items():
            if name in _NUMBERS:
                self._cells[_NUMBERS[name]] = count
        for slot, cause, count in restarts:
            self._cells[self._place(slot, cause)] = count

    @property
    def events(self) -> dict[str, int]:
        """How often each event was told by the supervisor; those that never were are left out.

        Of `LINES_DROPPED`, which tells of many lines at once, it is the number of the lines.
        """
        cells = self._cells
        found = {name: cells[number] for name, number in _NUMBERS.items() if cells[number]}
        dropped = self.lines_dropped
        return found | {LINES_DROPPED.name: dropped} if dropped else found

    @property
    def restarts(self) -> list[tuple[int, int, int]]:
        """How many workers were replaced: slot, cause and number; those of none are left out."""
        size = len(Restart)
        words = self._cells[_SLOTS] * size  # the others are many, and nothing is in them
        found = struct.unpack_from(f"={words}Q", self._map, _FIRST_RESTART * WORD)
        return [(*divmod(place, size), count) for place, count in enumerate(found) if count]

    def count_event(self, record: Record) -> None:
        """Count an event of the supervisor's own."""
        self._cells[_NUMBERS[record.event.name]] += 1
        self._write_down()

    def begin_writing_down(self, file: int) -> None:
        """Have a file, a memfd, say how often each event was told, from now on, in this process.

        It is for a supervisor after an exec: what is counted here after this memory was read for it
        would be lost, so that a counter which somebody has seen would fall.
        """
        self._file = file
        self._write_down()

    def add_written(self, file: int, known: Mapping[str, int]) -> None:
        """Add what a process has written down that ended meanwhile.

        Args:
            file: where; it stays the caller's.
            known: what was known of it when this supervisor began.
        """
        try:
            written = json.loads(os.pread(file, _MOST_WRITTEN, 0))
        except ValueError:
            return  # it was killed before it wrote anything
        for name, count in written.items():
            if name in _NUMBERS:
                self._cells[_NUMBERS[name]] += max(0, count - known.get(name, 0))

    def _write_down(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # there is no memory: an event is told all the same
                os.pwrite(self._file, json.dumps(self.events).encode(), 0)  # it never gets shorter

    @property
    def lines_dropped(self) -> int:
        """How many lines of the log were dropped by the supervisor and its helper processes."""
        return sum(self._cells[each] for each in _DROPPED)

    def count_lines_dropped(self, lines: int) -> None:
        """Count lines of the log that the supervisor has dropped."""
        self._cells[_NUMBERS[LINES_DROPPED.name]] += lines

    def count_lines_dropped_by_ops(self, lines: int) -> None:
        """Count those that `ops` has dropped."""
        self._cells[_OPS_DROPPED] += lines

    def count_lines_dropped_by_bridge(self, lines: int) -> None:
        """Count those that the bridge to a broker has dropped."""
        self._cells[_BRIDGE_DROPPED] += lines

    def count_restart(self, slot: int, cause: Restart) -> None:
        """Count a worker that was replaced, or is to be."""
        self._cells[self._place(slot, cause)] += 1

    @property
    def beat(self) -> float:
        """When `ops` was last well, in seconds of the monotonic clock; 0 at first."""
        return self._cells[_BEAT] / 1e9

    @beat.setter
    def beat(self, seconds: float) -> None:
        self._cells[_BEAT] = int(seconds * 1e9)

    @property
    def bridge_beat(self) -> float:
        """The same of the bridge to a broker."""
        return self._cells[_BRIDGE_BEAT] / 1e9

    @bridge_beat.setter
    def bridge_beat(self, seconds: float) -> None:
        self._cells[_BRIDGE_BEAT] = int(seconds * 1e9)

    @property
    def executing_since(self) -> float:
        """Since when the supervisor re-executes itself, in seconds of the monotonic clock.

        0 if it does not. The next supervisor has a memory of its own for all that is here.
        """
        return self._cells[_EXECUTING] / 1e9

    @executing_since.setter
    def executing_since(self, seconds: float) -> None:
        self._cells[_EXECUTING] = int(seconds * 1e9)

    @property
    def is_ending(self) -> bool:
        """Whether no worker is left and the supervisor ends: it answers nobody any more."""
        return bool(self._cells[_ENDING])

    @is_ending.setter
    def is_ending(self, value: bool) -> None:
        self._cells[_ENDING] = int(value)

    @property
    def bus(self) -> tuple[bool, int] | None:
        """Whether the bus is connected to its broker, and how many bytes wait for that.

        None if there is none.
        """
        state = self._cells[_BUS]
        return (state == _CONNECTED, self._cells[_BUS_QUEUED]) if state else None

    @bus.setter
    def bus(self, state: tuple[bool, int]) -> None:
        is_connected, queued = state
        self._cells[_BUS] = _CONNECTED if is_connected else _AWAY
        self._cells[_BUS_QUEUED] = queued

    def close(self) -> None:
        """Unmap it."""
        self._cells.release()
        self._map.close()

    def _place(self, slot: int, cause: int) -> int:
        """Return where restarts are counted, and note that this slot has some."""
        self._cells[_SLOTS] = max(self._cells[_SLOTS], slot + 1)
        return _FIRST_RESTART + slot * len(Restart) + cause
