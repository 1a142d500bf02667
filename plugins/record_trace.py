"""Record the connections that are served, for `simulate --trace`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field

from host import Connection, Worker, hookimpl


class Options(BaseModel):
    """What can be set in `[options.record_trace]`."""

    file: Path = Field(
        default=Path("trace.jsonl"),
        description="File that the records are appended to, one line of JSON each; it is made if it"
        " is missing. It grows by about 150 bytes a connection and is never shortened.",
    )


@dataclass(slots=True)
class _Record:
    """What is known of an open connection: when it began (two clocks), and its work so far."""

    at: float
    began: float
    busy: float = 0.0
    reads: int = 0


class RecordTrace:
    """Append one line for each connection that ends.

    `at` is when it was accepted (seconds since the epoch), `seconds` how long it was held, `busy`
    how many of them the worker spent in `on_readable` for it, `reads` in how many calls;
    `listener` and `slot` say where. A connection whose worker is killed is missing.

    All workers write to one file. Each line is one write(2) to a file opened with O_APPEND, so
    lines of several workers never mix (on a local file system).
    """

    def __init__(self, options: Options) -> None:
        self._file = options.file
        self._fd = -1
        self._slot = -1
        self._open: dict[str, _Record] = {}
        self._missing = 0
        self._torn = False

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        """Open the file; a worker that cannot does not start."""
        # With O_NONBLOCK a pipe whose reader is slow costs records, and the worker does not wait.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            self._fd = os.open(self._file, flags, 0o640)
        except OSError as error:
            raise RuntimeError(
                f"cannot open the trace file {self._file}: {error.strerror}; "
                "another one is chosen with --set options.record_trace.file=FILE"
            ) from None
        self._slot = worker.slot

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        """Note when the connection began."""
        self._open[connection.id] = _Record(time.time(), time.monotonic())

    @hookimpl(wrapper=True)
    def on_readable(self, connection: Connection) -> Generator[None, object, object]:
        """Measure how long the listener's plugin takes."""
        began = time.monotonic()
        try:
            return (yield)
        finally:
            record = self._open.get(connection.id)
            if record is not None:  # it is gone if the handler has cut the connection
                record.busy += time.monotonic() - began
                record.reads += 1

    @hookimpl
    def on_close(self, connection: Connection) -> None:
        """Write the record of the connection."""
        record = self._open.pop(connection.id, None)
        if record is None:
            return
        line = json.dumps(
            {
                "at": round(record.at, 6),
                "listener": connection.listener.address,
                "slot": self._slot,
                "seconds": round(time.monotonic() - record.began, 6),
                "busy": round(record.busy, 9),
                "reads": record.reads,
            }
        )
        self._append(line.encode() + b"\n")

    @hookimpl
    def on_worker_stop(self) -> None:
        """Close the file, and tell how many records could not be written."""
        os.close(self._fd)
        if self._missing:
            missing = "connection is" if self._missing == 1 else "connections are"
            raise RuntimeError(f"{self._missing} {missing} missing in {self._file}")

    def _append(self, line: bytes) -> None:
        """Write a line. The first failure is raised, for the host to log it; others are counted."""
        # After a line that a full disk has cut short a new one begins.
        data = b"\n" + line if self._torn else line
        cause = "it took only a part"
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            written, cause = 0, error.strerror or str(error)
        if written:
            self._torn = written < len(data)
        if written == len(data):
            return
        self._missing += 1
        if self._missing == 1:
            raise RuntimeError(
                f"cannot write to the trace file {self._file}: {cause}; connections are served "
                "as before, and those whose records fail are counted"
            )
