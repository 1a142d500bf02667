"""The flight recorder: the last events of each worker, in shared memory that outlives it.

Each row of the scoreboard has two rings of records of 64 bytes: one that its worker writes, and one
that the supervisor writes. A record has its number at both ends, so that who reads it finds out
whether it is whole: a worker may be killed at any moment. Times are those of CLOCK_MONOTONIC, which
all processes share (clock_gettime(2)). No record has what a peer has sent, nor its address.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from enum import IntEnum
from struct import Struct
from typing import NamedTuple, Protocol

from host.errors import SlowCallError
from host.hookspecs import TABLE, on_datagram
from host.interfaces import CloseReason, Listener
from host.ipc.current_call import kind_of, unpack_call
from host.ipc.scoreboard import OF_REFUSALS, RECENT_RECORDS, RECORD_BYTES, WORD, Row
from host.text import printable

MOST_EVENTS = 64
"""So many events are told at most: what a worker's ring holds."""
SUPERVISOR_RECORDS = 16
_PLUGIN_BYTES = 24
_RECORD = Struct(f"=QdQBBHI{_PLUGIN_BYTES}sQ")
assert _RECORD.size == RECORD_BYTES
_RECORD_WORDS = RECORD_BYTES // WORD
REASONS = tuple(CloseReason)
"""A reason is written as its place here."""
_REFUSALS = {word: name for name, word in OF_REFUSALS.items()}
_HOOKS = {row.call_number: row.name for row in TABLE if row.call_number is not None}
_CALL_NUMBERS = {name: number for number, name in _HOOKS.items()}


class Kind(IntEnum):
    """What has happened; the numbers are in shared memory and keep their meaning."""

    STARTED = 1
    ENDED = 2
    ACCEPTED = 3
    CLOSED = 4
    REFUSED = 5
    FAILED = 6
    SLOW = 7
    DRAINING = 8
    SUSPENDED = 9
    CAUGHT_UP = 10
    HUNG = 11
    KILLED = 12
    HELD = 13
    RESUMED = 14
    REPLACED = 15
    SLOW_TURN = 16


_ON_DATAGRAM = kind_of(on_datagram)
_KINDS = frozenset(Kind)
_SENTENCES = {
    Kind.STARTED: "started",
    Kind.ENDED: "ended when it was asked to",
    Kind.DRAINING: "began to drain",
    Kind.SUSPENDED: "suspended: it did not claim connections in time",
    Kind.CAUGHT_UP: "caught up",
    Kind.HUNG: "found hanging",
    Kind.KILLED: "about to be killed",
    Kind.HELD: "held by an operator",
    Kind.RESUMED: "gets connections again",
    Kind.REPLACED: "to be replaced",
    Kind.SLOW_TURN: "a turn of the loop took too long",
}


class Clock(Protocol):
    """Knows the time.

    Attributes:
        now: seconds of CLOCK_MONOTONIC.
    """

    @property
    def now(self) -> float:
        """The time."""


class RecentEvent(NamedTuple):
    """One record.

    Attributes:
        number: its number, from 1 in each ring.
        time: when it happened, in seconds of CLOCK_MONOTONIC.
        kind: what has happened.
        pid: the worker that it happened to; 0 if it is not known.
        serial: the serial number of a connection.
        listener: the number of a listener.
        detail: why a connection has closed or was refused, or which hook has failed, as a number.
        plugin: the first bytes of the name of a plugin.
    """

    number: int
    time: float
    kind: Kind
    pid: int
    serial: int
    listener: int
    detail: int
    plugin: str

    def describe(self, listeners: Sequence[Listener]) -> str:
        """Say what has happened; `listeners` are those of the worker's generation."""
        address = "an unknown listener"
        if self.listener < len(listeners):
            address = listeners[self.listener].address
        words = _SENTENCES.get(self.kind, "")
        match self.kind:
            case Kind.ACCEPTED:
                return f"connection {self.pid}-{self.serial} accepted on {address}"
            case Kind.CLOSED:
                known = self.detail < len(REASONS)
                why = REASONS[self.detail].value if known else "unknown"
                return f"connection {self.pid}-{self.serial} on {address} ended: {why}"
            case Kind.REFUSED:
                return f"a connection on {address} refused: {_REFUSALS.get(self.detail, 'unknown')}"
            case Kind.FAILED | Kind.SLOW:
                hook = _HOOKS.get(self.detail, "a callback")
                what = "failed" if self.kind is Kind.FAILED else "took too long"
                whose = f" of plugin {printable(self.plugin)}" if self.plugin else ""
                return f"{hook}{whose} {what}"
            case Kind.SLOW_TURN:
                call = unpack_call(self.detail)
                if call is not None:
                    words += f"; the last call in it was {call.hook}"
                if self.serial:
                    words += f" for connection {self.pid}-{self.serial}"
        return words


class RecentWriter:
    """Writes one of the rings of a row; each has one writer at a time.

    It goes on behind what was written before it, as after a reload.

    Args:
        row: the row.
        clock: the writer's loop.
        pid: the worker that is written about.
        by_supervisor: whether it is the supervisor's ring.
    """

    __slots__ = ("_clock", "_count", "_first", "_memory", "_pid", "_size", "_slow_at")

    def __init__(self, row: Row, clock: Clock, pid: int, *, by_supervisor: bool = False) -> None:
        self._memory, self._clock, self._pid = _memory(row), clock, pid
        self._first, self._size = _ring(row, by_supervisor=by_supervisor)
        self._slow_at = -math.inf  # the turn in which a call is known to be slow
        self._count = max(
            (each.number for each in _records(row, self._first, self._size)), default=0
        )

    def note(  # one call for each connection that comes or goes: it calls nothing but the Struct
        self, kind: int, serial: int = 0, listener: int = 0, detail: int = 0, plugin: bytes = b""
    ) -> None:
        """Write a record; see `RecentEvent` for what is in it."""
        self._count = number = self._count + 1
        _RECORD.pack_into(
            self._memory,
            self._first + number % self._size * RECORD_BYTES,
            number,
            self._clock.now,
            serial,
            kind,
            detail,
            listener,
            self._pid,
            plugin,
            number,
        )

    def note_slow_turn(self, word: int) -> None:
        """Write that a turn took too long, unless it is known already which call that was.

        Args:
            word: what was called last (host.ipc.current_call).
        """
        if self._slow_at == self._clock.now:
            return
        call = unpack_call(word)
        kind, serial = (0, 0) if call is None else (call.called, call.serial)
        self.note(Kind.SLOW_TURN, 0 if kind == _ON_DATAGRAM else serial, detail=kind)

    def note_failure(
        self, plugin: str, hook: str, error: BaseException, _args: tuple[object, ...]
    ) -> None:
        """Write that a plugin has failed, or has taken too long."""
        kind = Kind.SLOW if isinstance(error, SlowCallError) else Kind.FAILED
        self._note_call(kind, plugin, hook)

    def note_slow(self, plugin: str, hook: str) -> None:
        """Write that a call has taken too long: of a hook, or of what a plugin has asked for.

        Args:
            plugin: whose it was; "" if that is not known.
            hook: the hook's name, or anything else.
        """
        self._note_call(Kind.SLOW, plugin, hook)

    def _note_call(self, kind: Kind, plugin: str, hook: str) -> None:
        if kind is Kind.SLOW:
            self._slow_at = self._clock.now
        name = plugin.encode(errors="replace")[:_PLUGIN_BYTES]
        self.note(kind, detail=_CALL_NUMBERS.get(hook, 0), plugin=name)


def recent_events(row: Row) -> list[RecentEvent]:
    """Return the last events of a row, oldest first, `MOST_EVENTS` at most.

    A record that is being written, or that a worker has written rubbish into, is left out.
    """
    found: list[RecentEvent] = []
    for by_supervisor in (False, True):
        first, size = _ring(row, by_supervisor=by_supervisor)
        found += _records(row, first, size)
    found.sort(key=lambda each: (each.time, each.number))  # one turn of a loop has one time
    return found[-MOST_EVENTS:]


def recent_lines(
    events: Iterable[RecentEvent], listeners: Sequence[Listener], pid: int, now: float, most: int
) -> str:
    """Return the last events of one worker for the log, a line for each; "" if there are none.

    Args:
        events: events of its row.
        listeners: those of its generation.
        pid: its process.
        now: the time, in seconds of CLOCK_MONOTONIC.
        most: how many lines there may be.
    """
    mine = [each for each in events if each.pid == pid][-most + 1 :]
    lines = [f"{now - each.time:10.3f} s before: {each.describe(listeners)}" for each in mine]
    return "\n".join(["its last events:", *lines]) if lines else ""


def _memory(row: Row) -> memoryview:
    """Return the memory of a row's scoreboard, which is no list as in some tests."""
    cells = row.cells
    assert isinstance(cells, memoryview)
    return cells


def _ring(row: Row, *, by_supervisor: bool) -> tuple[int, int]:
    """Return where a ring begins, in bytes from the scoreboard's begin, and how many it holds."""
    first = row.recent * WORD
    own = RECENT_RECORDS - SUPERVISOR_RECORDS
    if by_supervisor:
        return first + own * RECORD_BYTES, SUPERVISOR_RECORDS
    return first, own


def _records(row: Row, first: int, size: int) -> list[RecentEvent]:
    """Return the whole records of a ring, in no order."""
    found, memory = [], _memory(row)
    for place in range(size):
        at = first // WORD + place * _RECORD_WORDS
        last = memory[at + _RECORD_WORDS - 1]  # what is written last is read first
        if not last:
            continue
        values = _RECORD.unpack_from(memory, first + place * RECORD_BYTES)
        number, time, serial, kind, detail, listener, pid, plugin, _ = values
        if memory[at] != last or number != last or last % size != place:
            continue
        if kind in _KINDS and math.isfinite(time):
            name = plugin.rstrip(b"\0").decode(errors="replace")
            found.append(RecentEvent(number, time, Kind(kind), pid, serial, listener, detail, name))
    return found
