"""The control channel between supervisor and worker: what is said, and how it is written.

Downwards go records of four bytes: (listener, n) says that n connections are to be accepted from
that listener. A record with the listener `_ORDER` is an order; the deadline that it carries takes
the two records after it. Upwards go lines of JSON, since they are few.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import asdict, dataclass

_RECORD = struct.Struct("<HH")
_DEADLINE = struct.Struct("<d")
_ORDER = 0xFFFF
_DRAIN = 1
MAX_LISTENERS = _ORDER
MAX_LINE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Drain:
    """Order: take nothing new, be gone by `deadline` (seconds of the monotonic clock)."""

    deadline: float


def notification(listener: int, count: int) -> bytes:
    """Write a notification of `count` connections, 1 to 65535, on `listener`."""
    return _RECORD.pack(listener, count)


def drain_order(deadline: float) -> bytes:
    """Write an order to drain."""
    return _RECORD.pack(_ORDER, _DRAIN) + _DEADLINE.pack(deadline)


class Orders:
    """Takes apart what comes down, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, int] | Drain]:
        """Return the notifications and orders that are complete, in order."""
        data = self._rest + data if self._rest else data
        taken: list[tuple[int, int] | Drain] = []
        at = 0
        while at + 4 <= len(data):
            listener, count = _RECORD.unpack_from(data, at)
            if listener != _ORDER:
                taken.append((listener, count))
            elif at + 12 <= len(data):
                taken.append(Drain(*_DEADLINE.unpack_from(data, at + 4)))
                at += 8
            else:
                break
            at += 4
        self._rest = data[at:]
        return taken


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker says.

    Attributes:
        kind: `ready`; `failed` to start; or `leaving`: somebody asked this worker to go.
        cause: for `failed`, what happened.
        traceback: for `failed`, where, or "".
    """

    kind: str
    cause: str = ""
    traceback: str = ""

    def line(self) -> bytes:
        """Write it as a line, cut where it is too long: of a traceback the end says most."""
        line = json.dumps(asdict(self)).encode() + b"\n"
        if len(line) <= MAX_LINE_BYTES:
            return line
        cause, traceback = self.cause, self.traceback
        return Report(self.kind, cause[: len(cause) // 2], traceback[len(traceback) // 2 :]).line()


class Reports:
    """Takes apart what comes up. A worker is not trusted: its plugins may write anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Report]:
        """Return the reports that are complete; what is no report is left out."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            self._rest = b""
        reports = []
        for line in lines:
            try:
                fields = json.loads(line)
                reports.append(Report(*(str(fields[k]) for k in ("kind", "cause", "traceback"))))
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
        return reports


class ControlChannel:
    """The supervisor's end of one worker's control channel.

    Args:
        sock: a connected stream socket; the channel closes it.

    Attributes:
        failure: why the worker failed to start, as soon as it has said so.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._reports = Reports()
        self.failure: Report | None = None

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._sock.fileno()

    def send(self, data: bytes) -> bool:
        """Send without waiting; tell whether it was taken (a full pipe means a hung worker)."""
        try:
            self._sock.send(data)
        except OSError:  # EAGAIN; or EPIPE: the worker has died, and its exit is on the way
            return False
        return True

    def receive(self) -> list[Report] | None:
        """Return what the worker has said, or None at the end; a failure is kept as well."""
        try:
            data = self._sock.recv(MAX_LINE_BYTES)
        except BlockingIOError:  # an event of a channel that had this descriptor before
            return []
        except OSError:
            return None
        if not data:
            return None
        reports = self._reports.feed(data)
        for report in reports:
            if report.kind == "failed":
                self.failure = report
        return reports

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()
