"""The supervisor's end of a worker's control channel."""

from __future__ import annotations

import socket
from contextlib import suppress

from host.ipc.protocol import Report, ReportParser

_READ_BYTES = 8192
"""How much is read at a time: a part of an answer, which takes about 0.4 ms to be understood."""


class SupervisorChannel:
    """The supervisor's end of one worker's control channel.

    Args:
        sock: a connected stream socket; the channel closes it.
        rest: what was read of a report that is not complete yet.

    Attributes:
        failure: why the worker failed to start, as soon as it has said so.
        ended: whether the worker has closed its end, which it does when it dies at the latest.
    """

    def __init__(self, sock: socket.socket, rest: bytes = b"") -> None:
        sock.setblocking(False)
        self._sock = sock
        self._reports = ReportParser(rest)
        self.failure: Report | None = None
        self.ended = False

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._sock.fileno()

    @property
    def rest(self) -> bytes:
        """What was read of a report that is not complete yet."""
        return self._reports.rest

    def send(self, data: bytes) -> bool:
        """Send without waiting; tell whether it was taken (a full pipe means a hung worker)."""
        try:
            self._sock.send(data)
        except OSError:  # EAGAIN; or EPIPE: the worker has died, and its exit is on the way
            return False
        return True

    def send_descriptor(self, data: bytes, descriptor: int) -> bool:
        """Do the same, and have a copy of a descriptor come with it (unix(7), SCM_RIGHTS)."""
        try:
            socket.send_fds(self._sock, [data], [descriptor])
        except OSError:
            return False
        return True

    def receive(self) -> list[Report] | None:
        """Return what the worker has said, or None at the end; a failure is kept as well."""
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:  # an event of a channel that had this descriptor before
            return []
        except OSError:
            data = b""
        self.ended = not data
        return self._take(data) if data else None

    def receive_last(self) -> None:
        """Take all that a worker has said which has ended; a failure is kept."""
        with suppress(BlockingIOError, OSError):
            while data := self._sock.recv(_READ_BYTES):
                self._take(data)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _take(self, data: bytes) -> list[Report]:
        reports = self._reports.feed(data)
        for report in reports:
            if report.kind == "failed":
                self.failure = report
        return reports
