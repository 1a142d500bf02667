"""The TLS sessions of a worker, by descriptor: what its connections read, write and wait by."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence

from host.interfaces import CloseReason
from host.runtime.loop import READ, Handler, Poller, PollerFor
from host.tls.session import Buffers, Session, TlsFailedError, TruncatedError

_NOT_WATCHED: tuple[int, Handler] = 0, lambda _mask: None


class TlsSockets(PollerFor):
    """Does for descriptors with a TLS session what the system calls and the loop do for others.

    epoll(7) does not see what is inside a session: a record is read whole, and a plugin may have
    taken a part of it. So whoever waits to read is called again in the next turn as long as bytes
    may be inside, once a turn, after all that the kernel has reported.

    Args:
        loop: the loop of the worker.
        reset: makes close(2) reset the peer.
    """

    def __init__(self, loop: Poller, reset: Callable[[int], None]) -> None:
        super().__init__(loop)
        self._reset = reset
        self._sessions: dict[int, Session] = {}
        self._watches: dict[int, tuple[int, Handler]] = {}
        self._again: dict[int, None] = {}

    def adopt(self, fd: int, session: Session) -> None:
        """Have a session for a descriptor from now on, until it is closed."""
        self._sessions[fd] = session

    def read(self, fd: int, room: int) -> bytes:
        """Read as `Session.read` does."""
        session = self._sessions[fd]
        try:
            return session.read(fd, room)
        finally:
            if session.more:
                self._call_again(fd)

    def read_into(self, fd: int, buffers: Sequence[bytearray | memoryview]) -> int:
        """Read as `Session.read_into` does."""
        session = self._sessions[fd]
        try:
            return session.read_into(fd, buffers)
        finally:
            if session.more:
                self._call_again(fd)

    def write(self, fd: int, data: bytes) -> int:
        """Write as `Session.write` does."""
        return self._sessions[fd].write(fd, data)

    def write_pieces(self, fd: int, pieces: Buffers) -> int:
        """Write as `Session.write_pieces` does."""
        return self._sessions[fd].write_pieces(fd, pieces)

    def send_file(self, fd: int, file: int, offset: int, count: int) -> int:
        """Write as `Session.send_file` does."""
        return self._sessions[fd].send_file(fd, file, offset, count)

    def finish(self, fd: int) -> bool:
        """Say that nothing more is sent, as `Session.finish` does."""
        return self._sessions[fd].finish(fd)

    def flush(self, fd: int) -> bool:
        """Send what waits, as `Session.flush` does."""
        return self._sessions[fd].flush(fd)

    def reset(self, fd: int) -> None:
        """Have the peer see a reset when the descriptor is closed, and no word before it."""
        self._sessions[fd].silent = True
        self._reset(fd)

    def closing(self, close: Callable[[int], None]) -> Callable[[int], None]:
        """Return what closes a descriptor: it tells the peer first that nothing more is sent."""
        sessions = self._sessions

        def finish_and_close(fd: int) -> None:
            session = sessions.pop(fd, None)
            if session is not None:  # it may have been refused before it had one
                session.finish(fd)
            close(fd)

        return finish_and_close

    def reason_of(self, error: OSError) -> CloseReason:
        """Return why a connection ends whose read or write has failed."""
        match error:
            case TruncatedError():
                return CloseReason.TRUNCATED
            case TlsFailedError():
                return CloseReason.TLS_FAILED
            case _:
                return CloseReason.RESET

    def object_of(self, fd: int) -> ssl.SSLObject | None:
        """Return what the module `ssl` knows of a session; None once the descriptor is closed."""
        session = self._sessions.get(fd)
        return None if session is None else session.object

    def add(self, fd: int, events: int, handler: Handler) -> None:
        """Watch `fd`, and its session."""
        self._loop.add(fd, events, handler)
        self._watches[fd] = events, handler
        self._look(fd, events)

    def modify(self, fd: int, events: int) -> None:
        """Change what `fd` is watched for."""
        self._loop.modify(fd, events)
        self._watches[fd] = events, self._watches[fd][1]
        self._look(fd, events)

    def remove(self, fd: int) -> None:
        """Stop watching `fd`."""
        self._loop.remove(fd)
        self._watches.pop(fd, None)

    def _look(self, fd: int, events: int) -> None:
        if events & READ and self._sessions[fd].more:
            self._call_again(fd)

    def _call_again(self, fd: int) -> None:
        if not self._again:
            self._loop.call_from_thread(self._call)
        self._again[fd] = None

    def _call(self) -> None:
        """Call those that wait to read and may have something inside."""
        again, self._again = self._again, {}
        for fd in again:
            events, handler = self._watches.get(fd, _NOT_WATCHED)
            if events & READ and self._sessions[fd].more:
                handler(READ)
