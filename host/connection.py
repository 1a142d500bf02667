"""A connection over a socket: reads on demand, sends once a turn, ends with a reason."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from host.errors import NothingReadError
from host.loop import READ, WRITE
from host.marks import Called, mark, serial_of
from host.peers import describe, discard_unread
from host.service import Service
from host.views import CloseReason, Listener, Worker

_DONTWAIT = socket.MSG_DONTWAIT
_NONE: list[bytes] = []  # shared by all connections: never changed
_SEND_SLICE = 262_144
"""How much of a backlog is offered to one send: about what a loopback socket takes at a time."""


class SocketConnection:
    """One accepted socket; it owns the socket and closes it.

    The socket stays in blocking mode and is used with MSG_DONTWAIT: an accepted socket does not
    inherit O_NONBLOCK (accept(2)), and setting it would cost a system call per connection.

    What is written is first kept for the one send at the end of the handler; mostly one chunk.
    What the kernel does not take moves to a bytearray (cutting off its front is cheap), to
    which further writes are added until it is empty again.
    """

    __slots__ = (
        "_address",
        "_asked",
        "_attention",
        "_backlog",
        "_chunks",
        "_closing",
        "_ended",
        "_handling",
        "_mark",
        "_mask",
        "_paused",
        "_pending",
        "_queued",
        "_service",
        "_sock",
        "_when_writable",
        "allow_half_open",
        "born",
        "claim",
        "closed",
        "data",
        "eof",
        "held_back",
        "last_active",
    )

    def __init__(
        self, sock: socket.socket, address: Any, serial: int, service: Service, claim: int = 0
    ) -> None:
        self._sock, self._address, self._service = sock, address, service
        self._mark = mark(Called.ON_READABLE, serial, service.listener.index)
        self._pending: bytes | None = None  # what is written first
        self._chunks: list[bytes] = _NONE  # what is written after it
        self._queued = 0  # bytes in all of it, if there is more than the first
        self._backlog: bytearray | None = None
        self._mask = 0
        self._handling = False  # a handler of this connection is running
        self._asked = False  # that handler has called read()
        self._attention = False  # something other than plain traffic is to be settled
        self._paused = False  # by the plugin
        self.held_back = False  # by the high-water mark
        self._when_writable: Callable[[SocketConnection], object] | None = None
        self._closing: CloseReason | None = None
        self.closed = False  # as soon as it is closing: nothing more can be read or written
        self._ended = False
        self.data: Any = None
        self.allow_half_open = False
        self.eof = False
        self.born = self.last_active = service.loop.now
        self.claim = claim

    def __repr__(self) -> str:
        return f"<connection {self.id} from {self.peer}>"

    @property
    def id(self) -> str:
        """Unique among all connections of this host."""
        return f"{self._service.worker.pid}-{serial_of(self._mark)}"

    @property
    def peer(self) -> str:
        """The other end: `127.0.0.1:50211`, `[::1]:50211`, or `unix`."""
        return describe(self._address)

    @property
    def listener(self) -> Listener:
        """The listener that it came in on."""
        return self._service.listener

    @property
    def worker(self) -> Worker:
        """The worker that serves it."""
        return self._service.worker

    @property
    def unsent(self) -> int:
        """Bytes written and not yet taken by the kernel."""
        if self._backlog is not None:
            return len(self._backlog)
        return self._queued or len(self._pending or b"")

    @property
    def sock(self) -> socket.socket:
        """The socket; it stays the connection's."""
        return self._sock

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 once it has ended."""
        return self._sock.fileno()

    # What plugins call

    def read(self) -> bytes:
        """Return what has arrived, up to the read size; `b""` at the end or when there is none."""
        self._asked = True
        if self.closed or self.eof:
            return b""
        try:
            data = self._sock.recv(self._service.read_size, _DONTWAIT)
        except BlockingIOError:
            return b""
        except OSError:
            self._doom(CloseReason.RESET)
            return b""
        if not data:
            self.eof = self._attention = True
        return data

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue `data` for the send at the end of the handler or turn."""
        if self.closed:
            return
        if self._backlog is not None:
            self._backlog += data
            self._press()
            return
        chunk = data if type(data) is bytes else bytes(data)
        if self._pending is None:
            if chunk:
                self._pending = chunk
                if not self._handling:
                    self._service.touched.append(self)
            return
        if not self._queued:
            self._chunks, self._queued = [], len(self._pending)
        self._chunks.append(chunk)
        self._queued += len(chunk)
        if self._queued > self._service.high_water:
            self.flush()

    def flush(self) -> None:
        """Send now as much of what is queued as the kernel takes."""
        data = self._pending
        if data is None or self._ended:
            return
        self._pending = None
        if self._queued:
            data = b"".join((data, *self._chunks))
            self._chunks, self._queued = _NONE, 0
        if not self._handling:
            self.last_active = self._service.loop.now
        try:
            sent = self._sock.send(data, _DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._doom(CloseReason.RESET)
            return
        if sent < len(data):
            self._backlog = bytearray(memoryview(data)[sent:])
            self._service.stalled[self] = self._service.loop.now
            self._press()
            self._watch()

    def pause_reading(self) -> None:
        """Leave what arrives in the kernel until `resume_reading()`."""
        self._paused = True
        self._watch()

    def resume_reading(self) -> None:
        """Take up reading again."""
        self._paused = False
        self._watch()

    def call_when_writable(self, function: Callable[[SocketConnection], object]) -> None:
        """Call `function` once what is unsent is below the low-water mark."""
        self._when_writable = function
        self._attention = True
        if not self._handling:
            self._service.touched.append(self)

    def close(self) -> None:
        """Send what is queued, then close."""
        self.finish(CloseReason.PLUGIN)

    # What the worker calls

    def watch(self) -> None:
        """Watch the socket.

        Raises:
            OSError: ENOSPC or ENOMEM (epoll_ctl(2)).
        """
        self._service.loop.add(self._sock.fileno(), READ, self.on_event)
        self._mask = READ

    def begin(self) -> None:
        """Tell the plugins that it was accepted, and see to what they did."""
        self._handling = True
        self._note(Called.ON_ACCEPT)
        if not self._service.on_accept(self):
            self.finish(CloseReason.PLUGIN_FAILED)
        self._handling = False
        self.settle()

    def on_event(self, mask: int) -> None:
        """Handle an event of the socket: the hot path."""
        if mask & WRITE:
            self._send_backlog()
            if self._attention or self._when_writable is not None:
                self.settle()
            if self._ended:
                return
        if mask & self._mask & READ and not self.closed:
            service = self._service
            self.last_active = service.loop.now
            self._asked = False
            self._handling = True
            service.cells[service.mark] = self._mark
            try:
                service.on_readable(self)
            except BaseException as error:  # SystemExit too: only this connection may end of it
                self._fail(error)
            self._handling = False
            if self._pending is not None:
                self.flush()
            if self._attention or not self._asked:
                self._after_handler()
        elif mask & ~(READ | WRITE):
            self._hang_up()

    def drain(self, deadline: float) -> None:
        """Tell the plugin that the worker goes away, and see to what it did."""
        if self._closing is not None:
            return
        self._handling = True
        self._note(Called.ON_DRAIN)
        self._service.on_drain(self, deadline)
        self._handling = False
        self.settle()

    def finish(self, reason: CloseReason) -> None:
        """Send what is queued, then end with `reason`, at the latest when the turn ends."""
        if self._closing is None:
            self._closing = reason
            self.closed = self._attention = True
            if not self._handling:
                self._service.touched.append(self)

    def abort(self, reason: CloseReason) -> None:
        """End with `reason` now; what is queued is lost."""
        self._doom(reason)
        self.settle()

    def forsake(self) -> None:
        """Have nothing to do with the socket any more, in a child that a plugin has forked."""
        self._ended = self.closed = True
        self._closing = CloseReason.RESET
        self._sock.close()

    def settle(self) -> None:
        """Send what is queued and act on what has happened to the connection."""
        if self._ended or self._handling:
            return
        self.flush()
        if self._when_writable is not None:
            self._call_if_writable()
        if self._closing is None and self.eof and not self.allow_half_open:
            self._closing, self.closed = CloseReason.PEER_FINISHED, True
        if self._closing is not None and self._backlog is None:
            self._end(self._closing)
        else:
            self._attention = False
            self._watch()

    # Inside

    def _note(self, called: Called) -> None:
        """Write the worker's mark: what is called for this connection from now on."""
        service = self._service
        service.cells[service.mark] = self._mark - Called.ON_READABLE + called

    def _call_if_writable(self) -> None:
        function = self._when_writable
        if function is None or self._closing is not None or self.unsent > self._service.low_water:
            return
        self._when_writable = None
        self._handling = True
        try:
            function(self)
        except BaseException as error:
            self._fail(error)
        self._handling = False
        self.flush()

    def _after_handler(self) -> None:
        if not (self._asked or self._paused or self._closing is not None):
            self._fail(NothingReadError())
        self.settle()

    def _fail(self, error: BaseException) -> None:
        service = self._service
        service.report(service.blame(error), "on_readable", error, (self,))
        self.finish(CloseReason.PLUGIN_FAILED)

    def _doom(self, reason: CloseReason) -> None:
        """Give up what is unsent: the connection ends with `reason` when it is settled."""
        if self._ended:
            return
        self._pending, self._chunks, self._queued = None, _NONE, 0
        self._backlog = None
        self._closing = reason
        self.closed = self._attention = True
        if not self._handling:
            self._service.touched.append(self)

    def _press(self) -> None:
        """Hold the peer back above the high-water mark; give up above the hard cap."""
        assert self._backlog is not None
        if len(self._backlog) > self._service.max_unsent:
            self._doom(CloseReason.UNSENT_LIMIT)
        elif not self.held_back and len(self._backlog) > self._service.high_water:
            self.held_back = True
            self._watch()

    def _send_backlog(self) -> None:
        backlog = self._backlog
        if backlog is None:
            return
        try:
            with memoryview(backlog) as view, view[:_SEND_SLICE] as part:
                sent = self._sock.send(part, _DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            self._doom(CloseReason.RESET)
            return
        del backlog[:sent]
        self.last_active = self._service.loop.now
        if backlog:
            self._service.stalled[self] = self._service.loop.now
        else:
            self._backlog = None
            self._service.stalled.pop(self, None)
            self._attention = True
        if self.held_back and len(backlog) <= self._service.low_water:
            self.held_back = False
            self._attention = True

    def _watch(self) -> None:
        """Watch the socket for what is wanted of it now; not at all if that is nothing.

        With nothing wanted the kernel would still report a hang-up, in every turn.
        """
        if self._ended:
            return
        wanted = 0
        if not (self.eof or self._paused or self.held_back or self._closing is not None):
            wanted = READ
        if self._backlog is not None or self._when_writable is not None:
            wanted |= WRITE
        if wanted == self._mask:
            return
        loop, fd = self._service.loop, self._sock.fileno()
        if not wanted:
            loop.remove(fd)
        elif not self._mask:
            loop.add(fd, wanted, self.on_event)
        else:
            loop.modify(fd, wanted)
        self._mask = wanted

    def _hang_up(self) -> None:
        """Find out what an error or hang-up event without data means."""
        if self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.abort(CloseReason.RESET)
        elif self._mask & READ:
            self.on_event(READ)

    def _end(self, reason: CloseReason) -> None:
        self._ended = True
        service = self._service
        service.stalled.pop(self, None)
        if self._mask:
            service.loop.remove(self._sock.fileno())
            self._mask = 0
        if not self.eof and reason is not CloseReason.RESET:
            discard_unread(self._sock)
        service.on_end(self, reason)
        self._sock.close()
        self._note(Called.ON_CLOSE)
        service.on_close(self, reason)
