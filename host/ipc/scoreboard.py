"""The scoreboard: shared counters, each written by one process only.

One memfd (memfd_create(2)) is mapped before the first fork of a generation. It has a header and a
row for each living worker: a slot may have two workers while one takes over from the other. A
row has two parts: what the worker writes and what the supervisor writes. No lock is needed: every
cell has one writer, and a counter is an aligned 64-bit word that CPython copies with one
`memcpy` of a constant 8 bytes, which compilers for 64-bit machines turn into one store.

Counters of a row go on from one worker to the next; so their sums are those of all workers. The
workers of a row have one slot, so that the sums of a slot's rows are those of the slot.
"""

from __future__ import annotations

from typing import Protocol

from host.errors import LimitsError
from host.interfaces import CloseReason
from host.ipc.shared_memory import SharedCells, too_much

WORD = 8
HEADER_WORDS = 8
STARVED, GATE_SHUT, _USED, COUNTED_ELSEWHERE = range(4)
"""Words of the header. The last one takes what nobody is to read: anybody writes there."""
MAX_ROWS = 4096
"""Workers of one generation that can live at once. Rows that are not used cost no memory."""

# Written by the worker, once per row. CURRENT_CALL says in which hook of which connection it is.
ACTIVE, TURN_STARTED, TURN_LASTED, REFUSING, CLAIMED_ALL, ACCEPTED_ALL, CURRENT_CALL = range(7)
# Written by the supervisor, once per row: whether the worker is suspended.
SUSPENDED = 7
# Written by the worker: whose datagram it handles (host.ipc.current_peer), in six words.
PEER = 8
# Written by the worker, once per row: tasks of its pools, now and so far.
TASKS_WAITING, TASKS_RUNNING = 14, 15
TASKS_DONE, TASKS_FAILED, TASKS_LOST, TASKS_TIMED_OUT, TASKS_CANCELLED = range(16, 21)
# Written by the supervisor, once per row: whose row it is, and its process. The slot is one more
# than its number, so that 0 is nobody's.
SLOT, PID = 21, 22
# Written by the worker, once per row, if the host is shown: turns of its loop by how long they have
# taken, and their sum in nanoseconds.
TURNS = 23
TURN_BUCKETS = 25
TURN_SUM = TURNS + TURN_BUCKETS
# Written by the supervisor, once per row: how often the worker was suspended.
SUSPENSIONS = TURN_SUM + 1
# Written by the worker, once per row: lines of its log that were dropped, and messages that the bus
# has not taken of it.
LINES_DROPPED, BUS_REFUSED = SUSPENSIONS + 1, SUSPENSIONS + 2
# Written by the supervisor, once per row, if the host is shown: messages that the bus has taken of
# the worker, those that were queued for it, and those that were not, since its queue was full.
BUS_PUBLISHED, BUS_DELIVERED, BUS_DROPPED = range(SUSPENSIONS + 3, SUSPENSIONS + 6)
# Written by the worker, once per row: tasks of its pools by how long they have waited, and run,
# each with the sum in nanoseconds behind it.
TASK_WAITS = BUS_DROPPED + 1
TASK_RUNS = TASK_WAITS + TURN_BUCKETS + 1
WORKER_WORDS = TASK_RUNS + TURN_BUCKETS + 1
_OF_ONE_WORKER = (
    ACTIVE,
    TURN_STARTED,
    REFUSING,
    CURRENT_CALL,
    SUSPENDED,
    TASKS_WAITING,
    TASKS_RUNNING,
    PID,
)
"""What is not counted on by the next worker of the row."""
# Written by the worker, once per row and listener.
CLAIMED, SETTLED, ACCEPTED, SPURIOUS, REFUSED = range(5)
BYTES_IN, BYTES_OUT = 6, 7
LOST_WRITES, CUT_ANSWERS = 8, 9
# Connections that were accepted and not let in, by cause. They are among the accepted ones.
DENIED, BAD_PROXY, LATE, GONE, PROBES = range(10, 15)
# Of UDP listeners: datagrams, those sent in reply, and replies that the kernel did not take, or
# that would have been too many bytes for their sender.
DATAGRAMS, REPLIES, DROPPED_REPLIES, REFUSED_REPLIES = range(15, 19)
# Connections of clients that have, or open, more than they may: among those not let in, too.
PER_CLIENT, RATE = 19, 20
# Connections that are open, of listeners with `max_connections`; 0 of all others.
OPEN = 21
# Connections whose TLS handshake has failed: among those not let in, too.
BAD_TLS = 22
# How many replies there are once the one that is under way has been sent, if the host is shown.
SENDING = 23
# Connections that have ended, by reason, in the order of `CloseReason`, if the host is shown.
CLOSED = 24
# Written by the supervisor, once per row and listener.
SENT = 5
LISTENER_WORDS = CLOSED + len(CloseReason)
# Written by the worker, once per row, behind all counters: what it does (host.ipc.doing).
DOING_WORDS = 16
# Behind it: the last events of its worker (host.ipc.recent).
RECENT_RECORDS, RECORD_BYTES = 80, 64
RECENT_WORDS = RECENT_RECORDS * RECORD_BYTES // WORD


OF_REFUSALS = {
    "denied": DENIED,
    "proxy": BAD_PROXY,
    "tls": BAD_TLS,
    "late": LATE,
    "gone": GONE,
    "probes": PROBES,
    "per_client": PER_CLIENT,
    "rate": RATE,
}
"""Why connections were not let in, and which counters say how many."""
OF_DATAGRAMS = {
    "received": DATAGRAMS,
    "replies": REPLIES,
    "dropped_replies": DROPPED_REPLIES,
    "refused_replies": REFUSED_REPLIES,
}
"""What is counted of datagrams, and where."""
OF_TASKS = {
    "done": TASKS_DONE,
    "failed": TASKS_FAILED,
    "lost": TASKS_LOST,
    "timed_out": TASKS_TIMED_OUT,
    "cancelled": TASKS_CANCELLED,
}
"""What has become of tasks of pools, and which counters say how many: each is in one of them."""


def bucket_of(nanoseconds: int) -> int:
    """Return the bucket of a time: the first ends at 1,024 ns, each next one is twice as long."""
    return (nanoseconds >> 10).bit_length()


class Cells(Protocol):
    """Words that can be read and written by index, such as a memoryview cast to "Q"."""

    def __getitem__(self, index: int, /) -> int:
        """Return one word."""

    def __setitem__(self, index: int, value: int, /) -> None:
        """Set one word."""


class Row:
    """The counters of one worker.

    `claimed` is raised *before* accept() is called for a notification. After it the claim is
    settled: one of accepted, spurious (nobody waited any more) and refused (accept() failed) is
    raised, and then `settled`. So `claimed - settled` is 1 while an accept is under way, else 0.

    Args:
        cells: the scoreboard's cells.
        base: the index of the row's first one.
        listeners: for how many listeners it counts.
        number: the row's number.
    """

    __slots__ = ("_base", "_listeners", "cells", "number")

    def __init__(self, cells: Cells, base: int, listeners: int, number: int) -> None:
        self.cells, self._base, self._listeners, self.number = cells, base, listeners, number

    def get(self, word: int) -> int:
        """Return one of the row's own counters."""
        return self.cells[self._base + word]

    def put(self, word: int, value: int) -> None:
        """Set one of the row's own counters."""
        self.cells[self._base + word] = value

    def index(self, word: int) -> int:
        """Return the index, in the scoreboard's cells, of one of the row's own counters."""
        return self._base + word

    @property
    def doing_place(self) -> int:
        """Where it is written what the worker does, in bytes from the beginning of the cells."""
        return self.cell(self._listeners, 0) * WORD

    def cell(self, listener: int, counter: int) -> int:
        """Return the index, in the scoreboard's cells, of one counter of one listener."""
        return self._base + WORKER_WORDS + listener * LISTENER_WORDS + counter

    @property
    def recent(self) -> int:
        """The index, in the scoreboard's cells, of the first record of its worker's events."""
        return self.cell(self._listeners, 0) + DOING_WORDS

    def count(self, listener: int, counter: int) -> int:
        """Return one counter of one listener."""
        return self.cells[self.cell(listener, counter)]

    def words(self) -> list[int]:
        """Return all of the row's own counters, by their numbers."""
        return [self.cells[self._base + word] for word in range(WORKER_WORDS)]

    def listener_words(self, listener: int) -> list[int]:
        """Return all counters of one listener, by their numbers."""
        first = self.cell(listener, 0)
        return [self.cells[first + counter] for counter in range(LISTENER_WORDS)]

    def raise_by(self, word: int, amount: int) -> None:
        """Raise one of the row's own counters, or lower it; only its one writer may."""
        self.cells[self._base + word] += amount

    def sum(self, counter: int) -> int:
        """Return the sum of one counter over all listeners."""
        return sum(self.count(listener, counter) for listener in range(self._listeners))

    def add(self, listener: int, counter: int, amount: int = 1) -> None:
        """Raise one counter of one listener; only its one writer may."""
        self.cells[self.cell(listener, counter)] += amount

    @property
    def slot(self) -> int | None:
        """The slot whose workers it has counted for; None if it has had no worker yet."""
        return self.get(SLOT) - 1 if self.get(SLOT) else None

    def turn_seconds(self, now: float) -> float:
        """Return how long the present or, between turns, the last turn of the loop has taken."""
        started = self.get(TURN_STARTED)
        return max(0.0, now - started / 1e9) if started else self.get(TURN_LASTED) / 1e9

    def write_off(self) -> None:
        """Balance the row of a worker that is dead, for the one that takes it over.

        What was sent and not claimed will not be, and an accept that was under way is over. Tasks
        of pools that waited or ran are lost. A reply that was being sent counts as sent: its client
        may have it. The supervisor may write here now: nobody else does any more.
        """
        for listener in range(self._listeners):
            claimed = self.count(listener, CLAIMED)
            outcomes = (self.count(listener, each) for each in (ACCEPTED, SPURIOUS, REFUSED))
            self.add(listener, REFUSED, claimed - sum(outcomes))
            self.cells[self.cell(listener, SETTLED)] = claimed
            self.cells[self.cell(listener, SENT)] = claimed
            self.cells[self.cell(listener, OPEN)] = 0
            replies = max(self.count(listener, REPLIES), self.count(listener, SENDING))
            self.cells[self.cell(listener, REPLIES)] = replies
        self.raise_by(TASKS_LOST, self.get(TASKS_WAITING) + self.get(TASKS_RUNNING))
        for word in _OF_ONE_WORKER:
            self.put(word, 0)
        self.cells[self.doing_place // WORD] = 0
        self.put(CLAIMED_ALL, self.sum(CLAIMED))
        self.put(ACCEPTED_ALL, self.sum(ACCEPTED))


def scoreboard_size(listeners: int) -> int:
    """Return how many bytes a scoreboard has whose rows count for so many listeners."""
    return (HEADER_WORDS + MAX_ROWS * _stride(listeners)) * WORD


def _stride(listeners: int) -> int:
    return WORKER_WORDS + listeners * LISTENER_WORDS + DOING_WORDS + RECENT_WORDS


class Scoreboard(SharedCells):
    """The shared mapping of one generation; inherited across fork and exec.

    Args:
        listeners: how many listeners each row counts for.
        fd: the memfd of a scoreboard that exists; it is closed by `close`, too.

    Attributes:
        cells: the mapping as unsigned 64-bit words.
        size: how many bytes it has.

    Raises:
        LimitsError: there is no memory for it.
    """

    cells: memoryview[int]

    def __init__(self, listeners: int, fd: int | None = None) -> None:
        self._stride = _stride(listeners)
        size = scoreboard_size(listeners)
        try:
            super().__init__("scoreboard", size, "Q", fd)
        except OSError as error:
            raise LimitsError(f"the counters of workers need {too_much(size, error)}") from error
        self.listeners = listeners
        self._rows: dict[int, Row] = {}

    def row(self, number: int) -> Row:
        """Return one row, from 0 to MAX_ROWS - 1."""
        row = self._rows.get(number)
        if row is None:
            base = HEADER_WORDS + number * self._stride
            row = self._rows[number] = Row(self.cells, base, self.listeners, number)
        return row

    def use(self, number: int, slot: int) -> Row:
        """Return one row that a worker of a slot is to use; only the supervisor may."""
        self.cells[_USED] = max(self.cells[_USED], number + 1)
        row = self.row(number)
        row.put(SLOT, slot + 1)
        return row

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows that have been used."""
        return tuple(self.row(number) for number in range(self.cells[_USED]))

    @property
    def starved(self) -> bool:
        """Set by the supervisor when connections wait and no worker may take them."""
        return self.cells[STARVED] != 0

    @starved.setter
    def starved(self, value: bool) -> None:
        self.cells[STARVED] = int(value)

    @property
    def gate_shut(self) -> bool:
        """Set by the supervisor when the host stops and its listeners let nobody new in."""
        return self.cells[GATE_SHUT] != 0

    @gate_shut.setter
    def gate_shut(self, value: bool) -> None:
        self.cells[GATE_SHUT] = int(value)

    def total(self, listener: int, counter: int) -> int:
        """Return the sum of one counter of a listener over all rows."""
        return sum(row.count(listener, counter) for row in self.rows)

    def only_read(self) -> None:
        """Write nothing here any more, in this process; rows that it had must not be used.

        Raises:
            OSError: there is no address space left.
        """
        super().only_read()
        self._rows.clear()
