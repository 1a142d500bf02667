"""Log lines: a listener to telemetry that never makes the loop wait."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from host.telemetry.emitter import Record
from host.telemetry.events import LINES_DROPPED, Level
from host.telemetry.log_file import LogFile
from host.text import Count, printable

Format = Callable[[Record], str]
CallLater = Callable[[float, Callable[[], object]], object]
CallFromThread = Callable[[Callable[[], object]], object]

_RETRY_SECONDS = 0.05
_BLOCKS = ("details", "traceback", "recent")


def _stamp(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def message(record: Record) -> str:
    """Return the event's sentence, filled in: one line, whatever is in the fields."""
    shown = {name: _shown(value) for name, value in record.fields.items()}
    return record.event.sentence.format(**shown)


def _shown(value: object) -> object:
    if isinstance(value, str):
        return printable(str(value))
    return Count(value) if type(value) is int else value


def text_line(record: Record) -> str:
    """Format a record for people: one line, and blocks such as tracebacks indented below it."""
    event, fields = record.event, record.fields
    lines = [f"{_stamp(record.time)} {event.level.name.lower():<7} {message(record)}"]
    peer = fields.get("peer")
    if peer and "{peer}" not in event.sentence:
        number = fields["connection"]  # a datagram has none
        what = "datagram" if number is None else f"connection {number}"
        lines.append(f"    {what} from {printable(str(peer))}")
    for name in _BLOCKS:
        lines += [f"    {printable(line)}" for line in str(fields.get(name) or "").splitlines()]
    return "\n".join(lines) + "\n"


_ESCAPED = re.compile(r"\\\\|\\ud[89ab]..\\ud[c-f]..|\\u(d[89a-f]..)")
"""Half of a pair of surrogates, which is no character, is spelled out. It comes of what is no
UTF-8 (`surrogateescape`), and many who read JSON refuse the line (RFC 8259, 8.2)."""


def json_line(record: Record, host: str) -> str:
    """Format a record of the host with that name as one JSON object a line, in ASCII."""
    head: dict[str, Any] = {
        "time": _stamp(record.time),
        "level": record.event.level.name.lower(),
        "host": host,
        "event": record.event.name,
        "message": message(record),
        "pid": os.getpid(),
    }
    body = {key: value for key, value in record.fields.items() if value is not None}
    line = json.dumps(head | body, default=str)
    if "\\ud" in line:
        line = _ESCAPED.sub(lambda found: f"\\\\u{found[1]}" if found[1] else found[0], line)
    return line + "\n"


class LogWriter:
    """Writes log lines to a descriptor without ever waiting for it.

    A pipe or terminal is opened anew through /proc/self/fd (proc(5)), so that O_NONBLOCK is ours
    alone and not the shell's; a socket is sent to with MSG_DONTWAIT. Where neither is allowed,
    poll(2) is asked before each write. A regular file is written to as it is: it never makes
    anyone wait for a reader, and its offset is shared with all who write there.

    Lines that are not taken wait in a bounded queue; beyond that they are dropped and counted.

    Any thread may call it, also while it is writing: a plugin may log in the middle of anything.
    Who finds another at work puts the line into the queue, and leaves the writing to that one.

    Args:
        descriptor: where to write; it stays the caller's.
        form: makes a line of a record.
        level: the lowest level that is written, but for what a setting asks for by itself.
        max_waiting: how many lines may wait.
        file: where to write in the place of the descriptor.

    Attributes:
        file: the same.
        uncounted: how many lines were dropped that nobody counts yet (`count_dropped`).
    """

    def __init__(
        self,
        descriptor: int,
        form: Format,
        level: Level,
        max_waiting: int = 1000,
        file: LogFile | None = None,
    ) -> None:
        self._format, self._level, self._max_waiting = form, level, max_waiting
        self._waiting: deque[bytes] = deque()
        self._dropped = self._taken = self.uncounted = 0
        self._begun = self._torn = False  # a line is written in part; its rest was dropped
        self._count: Callable[[int], object] | None = None
        self.file = file
        self._given = descriptor
        self._target = descriptor if file is None else file.descriptor
        self._own: int | None = None
        self._call_later: CallLater | None = None
        self._call_from_thread: CallFromThread | None = None
        self._thread = 0
        self._retrying = False
        self._at_work = threading.Lock()
        self._write = self._choose_write()

    def __call__(self, record: Record) -> None:
        """Write the record's line, now if possible."""
        if record.event.level < self._level and not record.event.asked_for:
            return
        self._enqueue(self._format(record))
        self.flush()

    def _enqueue(self, line: str) -> None:
        if len(self._waiting) >= self._max_waiting:
            self._drop(1)
        else:
            self._waiting.append(line.encode("utf-8", "backslashreplace"))

    def _drop(self, lines: int) -> None:
        self._dropped += lines
        if self._count is None:
            self.uncounted += lines
        else:
            self._count(lines)

    def count_dropped(self, count: Callable[[int], object]) -> None:
        """Have lines that are dropped counted, and those that nobody has counted so far.

        Args:
            count: called with how many more there are, by any thread, as soon as they are dropped.
        """
        before, self.uncounted = self.uncounted, 0
        self._count = count
        if before:
            count(before)

    def fileno(self) -> int:
        """Return the descriptor that was given: the writer that takes over writes there, too."""
        return self._given

    def reopen(self) -> None:
        """Write to what has the path of the file now; without a file nothing happens.

        Raises:
            OSError: it can neither be opened nor made; lines go where they went before.
        """
        if self.file is not None:
            self.file.reopen()
            with self._at_work:  # no thread is writing to what is closed now
                self._close_own()
                self._write = self._choose_write()
            self.flush()

    def attend(self, call_later: CallLater, call_from_thread: CallFromThread) -> None:
        """Have lines that were not taken tried again by the loop of this thread.

        Args:
            call_later: calls what it is given, once, after so many seconds.
            call_from_thread: calls what it is given soon; other threads may use it.
        """
        self._call_later, self._call_from_thread = call_later, call_from_thread
        self._thread, self._retrying = threading.get_ident(), False

    def leave(self) -> None:
        """Have nothing tried again by the loop any more: it is about to be closed."""
        self._call_later = self._call_from_thread = None

    def forget(self) -> None:
        """Forget lines that wait: after a fork they are the parent's to write."""
        self._waiting.clear()
        self._dropped = self.uncounted = 0
        self._begun = self._torn = False
        self._count = None
        self._at_work = threading.Lock()  # a thread that the child does not have may have held it
        self.leave()

    def mute(self) -> None:
        """Write nothing any more, in a child that a plugin has forked."""
        self.forget()
        self._write = len

    def state(self) -> tuple[list[bytes], int]:
        """Return the lines that wait, and how many were dropped, for the writer that takes over."""
        return list(self._waiting), self._dropped

    def restore(self, waiting: list[bytes], dropped: int, uncounted: int = 0) -> None:
        """Take over what another writer to the same descriptor had still to write.

        Args:
            waiting: its lines.
            dropped: how many lines it had to tell of that were dropped.
            uncounted: how many of these nobody has counted.
        """
        self._waiting.extendleft(reversed(waiting))
        self._dropped += dropped
        self.uncounted += uncounted

    def flush(self) -> None:
        """Write what waits, as far as it is taken."""
        # Asked again after each release: what came in the meantime is nobody else's to write.
        while self._waiting and self._at_work.acquire(blocking=False):
            try:
                if not self._write_waiting():
                    return
            finally:
                self._at_work.release()

    def _write_waiting(self) -> bool:
        """Write what waits; False if not all is taken now."""
        waiting = self._waiting
        while waiting:
            if self._torn:  # what comes now is no part of that line
                waiting[0], self._torn = b"\n" + waiting[0], False
            try:
                taken = self._write(waiting[0])
            except BlockingIOError:
                self._retry()
                return False
            except OSError:
                # The reader of the log is gone, or the disk is full: that must not end a server.
                self._torn = self._begun or waiting[0].startswith(b"\n")
                self._begun = False
                self._drop(len(waiting))
                waiting.clear()
                return True
            self._taken += taken
            self._begun = taken < len(waiting[0])
            if self._begun:
                waiting[0] = waiting[0][taken:]
                continue
            waiting.popleft()
            if not waiting and self._dropped:
                self._report_dropped()
        return True

    def _retry(self) -> None:
        call_later, call_from_thread = self._call_later, self._call_from_thread
        if call_later is None or call_from_thread is None or self._retrying:
            return
        self._retrying = True
        if threading.get_ident() == self._thread:
            call_later(_RETRY_SECONDS, self._try_again)
        else:
            call_from_thread(lambda: call_later(_RETRY_SECONDS, self._try_again))

    def _try_again(self) -> None:
        self._retrying = False
        self.flush()

    def _report_dropped(self) -> None:
        count, self._dropped = self._dropped, 0
        now = datetime.now(UTC).timestamp()
        self._enqueue(self._format(Record(LINES_DROPPED, now, {"count": count})))

    def close(self, patience_seconds: float = 0.5) -> None:
        """Write what waits, and close what was opened here.

        Args:
            patience_seconds: how long nothing may be taken of it; then the rest is lost. Others who
                write there may take the room that select(2) has told of.
        """
        target = self._target if self._own is None else self._own
        until = time.monotonic() + patience_seconds
        while self._waiting and time.monotonic() <= until:
            if not select.select([], [target], [], patience_seconds)[1]:
                break
            before = self._taken
            self.flush()
            if self._taken != before:
                until = time.monotonic() + patience_seconds
        with self._at_work:
            if self._waiting:
                self._drop(len(self._waiting))
                self._waiting.clear()
            self._close_own()
            self._write = self._write_polled  # what is told from now on needs nothing of ours

    def _close_own(self) -> None:
        if self._own is not None:
            with suppress(OSError):  # a plugin may have closed it by its number
                os.close(self._own)
            self._own = None

    def _choose_write(self) -> Callable[[bytes], int]:
        with suppress(OSError):
            mode = os.fstat(self._target).st_mode
            if stat.S_ISSOCK(mode):
                return self._write_socket
            if stat.S_ISREG(mode):
                return self._write_file
            self._own = os.open(
                f"/proc/self/fd/{self._target}",
                os.O_WRONLY | os.O_NONBLOCK | os.O_APPEND | os.O_CLOEXEC | os.O_NOCTTY,
            )
            return self._write_own
        return self._write_polled

    def _write_file(self, data: bytes) -> int:
        return os.write(self._target, data)

    def _write_own(self, data: bytes) -> int:
        assert self._own is not None
        return os.write(self._own, data)

    def _write_socket(self, data: bytes) -> int:
        with socket.socket(fileno=os.dup(self._target)) as sock:
            return sock.send(data, socket.MSG_DONTWAIT)

    def _write_polled(self, data: bytes) -> int:
        if not select.select([], [self._target], [], 0)[1]:
            raise BlockingIOError
        # A pipe that polls writable has room for PIPE_BUF bytes (pipe(7)).
        return os.write(self._target, data[: select.PIPE_BUF])
