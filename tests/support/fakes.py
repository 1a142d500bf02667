"""Stand-ins for what a module of the host is given: loop, socket, cells, telemetry."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from host.ipc.assignment import WorkerId
from host.ipc.scoreboard import DOING_WORDS, LISTENER_WORDS, RECENT_WORDS, WORKER_WORDS, Row
from host.runtime.loop import TimerHandle
from host.supervisor.workers.states import WorkerRecord, WorkerState
from host.telemetry.emitter import Record, Telemetry
from host.telemetry.events import Event


def _stride(listeners: int) -> int:
    return WORKER_WORDS + LISTENER_WORDS * listeners + DOING_WORDS + RECENT_WORDS


def blank_cells(slots: int, listeners: int) -> memoryview:
    """Make cells as the scoreboard has them: unsigned, so that no counter can fall below 0."""
    return memoryview(bytearray(8 * slots * _stride(listeners))).cast("Q")


def rows_of(cells: Any, slots: int, listeners: int) -> list[Row]:
    """Make the rows of all slots over `cells`."""
    return [Row(cells, slot * _stride(listeners), listeners, slot) for slot in range(slots)]


def worker_id(slot: int, pid: int | None = None, generation: int = 0) -> WorkerId:
    """Make who a worker is; the pid is 1000 + slot."""
    return WorkerId(slot, 1000 + slot if pid is None else pid, generation)


def record(
    slot: int, pid: int | None = None, generation: int = 0, state: WorkerState = WorkerState.READY
) -> WorkerRecord:
    """Make what the pool knows of a worker; the pid is 1000 + slot."""
    return WorkerRecord(slot, 1000 + slot if pid is None else pid, 0.0, state, None, generation)


class Told(list[Record]):
    """Telemetry that is kept: `telemetry` is what code is given."""

    def __init__(self) -> None:
        super().__init__()
        self.telemetry = Telemetry(self.append)

    def of(self, event: Event) -> list[dict[str, Any]]:
        """Return the fields of each time that `event` happened."""
        return [record.fields for record in self if record.event is event]

    def of_any(self, event: Event) -> list[dict[str, Any]]:
        """Return the same of an event that is told at different levels."""
        return [record.fields for record in self if record.event.name == event.name]

    @property
    def names(self) -> list[str]:
        return [record.event.name for record in self]


class FakeLoop:
    """A loop whose time is set by the test, and which records what is watched.

    Attributes:
        turn_seconds: how long the present turn has been under way: the clock is ahead of `now`.
    """

    def __init__(self, now: float = 100.0) -> None:
        self.now, self.turn_seconds = now, 0.0
        self.watched: dict[int, int] = {}
        self.handlers: dict[int, Callable[[int], object]] = {}
        self.timers: list[TimerHandle] = []
        self.calls: list[Callable[[], object]] = []

    def time(self) -> float:
        return self.now + self.turn_seconds

    def add(self, fd: int, events: int, handler: Callable[[int], object]) -> None:
        assert fd >= 0
        assert fd not in self.watched
        self.watched[fd], self.handlers[fd] = events, handler

    def modify(self, fd: int, events: int) -> None:
        assert fd in self.watched
        self.watched[fd] = events

    def remove(self, fd: int) -> None:
        self.watched.pop(fd, None)
        self.handlers.pop(fd, None)

    def call_from_thread(self, function: Callable[[], object]) -> None:
        self.calls.append(function)

    def run_calls(self) -> None:
        """Make the calls that are there, as the next turn does."""
        calls, self.calls = self.calls, []
        for call in calls:
            call()

    def call_at(self, when: float, function: Callable[[], object]) -> TimerHandle:
        self.timers = [timer for timer in self.timers if timer.function is not None]
        self.timers.append(TimerHandle(when, function))
        return self.timers[-1]

    def call_later(self, seconds: float, function: Callable[[], object]) -> TimerHandle:
        return self.call_at(self.now + seconds, function)

    @property
    def due(self) -> list[float]:
        """When the calls are due that nobody has cancelled."""
        return sorted(timer.when for timer in self.timers if timer.function is not None)

    def advance(self, to: float) -> None:
        """Let time pass, and make each call when it is due."""
        while self.due and self.due[0] <= to:
            timer = min(
                (timer for timer in self.timers if timer.function is not None),
                key=lambda timer: timer.when,
            )
            self.now = max(self.now, timer.when)
            function, timer.function = timer.function, None
            function()
        self.now = to


class FakeSocket:
    """A socket, or what is behind a descriptor, whose peer and kernel follow a script.

    Args:
        arrives: what each recv() gives, or raises; b"" is the end, and nothing more blocks.
        takes: how many bytes each send() takes at most, or what it raises; after these, all.

    Attributes:
        sends: what each send() was offered.
        taken: all bytes that were taken.
        was_reset: whether closing resets the peer.
    """

    def __init__(
        self,
        arrives: Iterable[bytes | BaseException] = (),
        takes: Iterable[int | BaseException] = (),
        fd: int = 7,
    ) -> None:
        self.arrives, self.takes = list(arrives), list(takes)
        self.sends: list[bytes] = []
        self.taken = b""
        self.error = 0
        self.closed = self.was_reset = False
        self._fd = fd

    def fileno(self) -> int:
        return -1 if self.closed else self._fd

    def recv(self, size: int, flags: int = 0) -> bytes:
        assert not self.closed
        if not self.arrives:
            raise BlockingIOError
        item = self.arrives[0]
        if isinstance(item, BaseException):
            raise self.arrives.pop(0)
        if len(item) > size:
            self.arrives[0] = item[size:]
        else:
            self.arrives.pop(0)
        return item[:size]

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:
        assert not self.closed
        offered = bytes(data)
        self.sends.append(offered)
        item = self.takes.pop(0) if self.takes else len(offered)
        if isinstance(item, BaseException):
            raise item
        self.taken += offered[:item]
        return min(item, len(offered))

    def recv_into(self, buffer: bytearray | memoryview) -> int:
        data = self.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def send_file(self, file: int, offset: int, count: int) -> int:
        data = os.pread(file, count, offset)
        return self.send(data) if data else 0

    def reset(self) -> None:
        assert not self.closed
        self.was_reset = True

    def close(self) -> None:
        self.closed = True


class FakeDescriptors(dict[int, FakeSocket]):
    """The sockets behind descriptors, and what connections do with these."""

    def open(self, sock: FakeSocket) -> int:
        """Return the descriptor of a socket."""
        self[sock.fileno()] = sock
        return sock.fileno()

    def calls(self) -> dict[str, object]:
        """Return the arguments of `ListenerContext`."""
        return {
            "read": lambda fd, size: self[fd].recv(size),
            "discard": lambda fd, size: self[fd].recv(size),
            "read_into": lambda fd, buffers: self[fd].recv_into(buffers[0]),
            "write": lambda fd, data: self[fd].send(data),
            "write_pieces": lambda fd, pieces: self[fd].send(b"".join(pieces)),
            "send_file": lambda fd, *part: self[fd].send_file(*part),
            "reset": lambda fd: self[fd].reset(),
            "close": lambda fd: self.pop(fd).close(),
            "error": lambda fd: self[fd].error,
        }
