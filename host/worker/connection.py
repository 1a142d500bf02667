"""A connection over a socket: reads on demand, hears what happens, ends with a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from host.errors import NothingReadError
from host.interfaces import CloseReason, Listener, Worker
from host.ipc.current_call import CallKind, pack_call, serial_of
from host.net.sockets import describe, discard_unread
from host.runtime.loop import READ, WRITE
from host.worker.context import FEW_BYTES, ListenerContext
from host.worker.sending import NO_EVENT, SendingHalf

# Members of an enumeration are found slowly; these are used for each connection.
_ON_READABLE, _ON_ACCEPT = int(CallKind.ON_READABLE), int(CallKind.ON_ACCEPT)
_ON_CLOSE, _ON_DRAIN = int(CallKind.ON_CLOSE), int(CallKind.ON_DRAIN)
_PEER_FINISHED, _RESET = CloseReason.PEER_FINISHED, CloseReason.RESET


class SocketConnection(SendingHalf):
    """One accepted socket; it owns the descriptor and closes it.

    The descriptor is non-blocking, and read(2) and write(2) do for a stream socket what recv(2)
    and send(2) do: a socket object would cost each message and each connection more.
    """

    __slots__ = (
        "_address",
        "_asked",
        "_call_word",
        "_closing",
        "_ended",
        "_mask",
        "_paused",
        "_room",
        "_when_writable",
        "allow_half_open",
        "born",
        "claim",
        "data",
        "eof",
    )

    def __init__(
        self, fd: int, address: Any, serial: int, context: ListenerContext, claim: int = 0
    ) -> None:
        super().__init__(fd, context)
        self._address = address
        self._call_word = pack_call(_ON_READABLE, serial, context.listener.index)
        self._room = context.few  # how much is read first; 0: nothing any more
        self._mask = 0  # what is watched for
        self._asked = False  # the handler of the present or last event has called read()
        self._paused = False  # by the plugin
        self._when_writable: Callable[[SocketConnection], object] | None = None
        self._closing: CloseReason | None = None
        self._ended = False
        self.data: Any = None
        self.allow_half_open = False
        self.eof = False
        self.born = self.last_active
        self.claim = claim

    def __repr__(self) -> str:
        return f"<connection {self.id} from {self.peer}>"

    @property
    def id(self) -> str:
        """Unique among all connections of this host."""
        return f"{self._context.worker.pid}-{serial_of(self._call_word)}"

    @property
    def peer(self) -> str:
        """The other end: `127.0.0.1:50211`, `[::1]:50211`, or `unix`."""
        return describe(self._address)

    @property
    def listener(self) -> Listener:
        """The listener that it came in on."""
        return self._context.listener

    @property
    def worker(self) -> Worker:
        """The worker that serves it."""
        return self._context.worker

    def fileno(self) -> int:
        """Return the socket's descriptor, which stays the connection's; -1 once it has ended."""
        return self._fd

    # What plugins call

    def read(self) -> bytes:
        """Return what has arrived, up to the read size; `b""` at the end or when there is none."""
        self._asked = True
        context, room = self._context, self._room
        if not room:
            return b""
        read = context.read  # what is called is found faster in a variable than in an attribute
        try:
            data = read(self._fd, room)
        except BlockingIOError:
            return b""
        except OSError:
            self._doom(_RESET)
            return b""
        if len(data) < FEW_BYTES:
            if data:
                self._room = context.few
            else:
                self._room = 0
                self.eof = self._attention = True
                context.touched.append(self)  # it may not be its own handler that reads
        elif room < context.read_size:
            data += self._read_more(data)
        return data

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
        self._context.touched.append(self)

    def close(self) -> None:
        """Send what is queued, then close."""
        self.finish(CloseReason.PLUGIN)

    # What the worker calls

    def watch(self) -> None:
        """Watch the socket.

        Raises:
            OSError: ENOSPC or ENOMEM (epoll_ctl(2)).
        """
        self._context.loop.add(self._fd, READ, self.on_event)
        self._mask = self._plain = READ

    def begin(self) -> None:
        """Tell the plugins that it was accepted, and see to what they did."""
        on_accept = self._context.on_accept
        if on_accept is None:
            return
        if not self._handle(_ON_ACCEPT, on_accept):
            self.finish(CloseReason.PLUGIN_FAILED)
        self.settle()

    def on_event(self, mask: int) -> None:
        """Handle an event of the socket: the hot path."""
        if mask == self._plain:
            self._first = None
        elif not self._is_readable(mask):
            return
        context = self._context
        self.last_active = context.loop.now
        self._asked = False
        context.cells[context.call_cell] = self._call_word
        on_readable = context.on_readable
        try:
            on_readable(self)
        except BaseException as error:  # SystemExit too: only this connection may end of it
            self._fail(error)
        data, self._first = self._first, b""
        if data:  # what `flush` does, without a call: most handlers write one piece
            write = context.write
            try:
                sent = write(self._fd, data)
            except OSError as error:
                self._not_sent(data, error)
            else:
                if sent != len(data):
                    self._keep(data, sent)
        elif self._pieces is not None:
            self.flush()
        if self._attention or not self._asked:
            self._after_handler()

    def drain(self, deadline: float) -> None:
        """Tell the plugin that the worker goes away, and see to what it did."""
        if self._closing is None:
            self._handle(_ON_DRAIN, self._context.on_drain, deadline)
            self.settle()

    def finish(self, reason: CloseReason) -> None:
        """Send what is queued, then end with `reason`, at the latest when the turn ends."""
        if self._closing is None:
            self.flush()
        if self._closing is None:
            self._begin_to_close(reason)

    def abort(self, reason: CloseReason) -> None:
        """End with `reason` now; what is queued is lost."""
        self._doom(reason)
        self.settle()

    def release(self) -> None:
        """Have nothing to do with the socket any more, in a child that a plugin has forked."""
        self._ended = self.closed = True
        self._closing = _RESET
        self._forget()
        if self._fd >= 0:
            self._context.close(self._fd)

    def settle(self) -> None:
        """Send what is queued and act on what has happened to the connection."""
        if self._ended:
            return
        self.flush()
        if not self._attention:
            return
        if self._when_writable is not None:
            self._call_if_writable()
        if self._closing is None and self.eof and not self.allow_half_open:
            self._closing, self.closed = _PEER_FINISHED, True
        if self._closing is not None and self._unsent is None:
            self._end(self._closing)
        else:
            self._attention = False
            self._watch()

    # Inside

    def _handle(self, called: int, function: Callable[..., Any], *args: object) -> Any:
        """Call a plugin for this connection, and send what it has written."""
        self._note(called)
        try:
            return function(self, *args)
        finally:
            self.flush()

    def _note(self, called: int) -> None:
        """Write the worker's mark: what is called for this connection from now on."""
        context = self._context
        context.cells[context.call_cell] = self._call_word - _ON_READABLE + called

    def _is_readable(self, mask: int) -> bool:
        """Deal with an event that is not plain; tell whether the plugin is to read now."""
        if mask & WRITE:
            self._send_unsent()
            if self._when_writable is not None:
                self._attention = True
            if self._attention:
                self.settle()
            if self._ended:
                return False
        if mask & self._mask & READ and not self.closed:
            if self._mask == READ and self._nothing_waits():
                self._plain, self._first = READ, None
            return True
        if mask & ~(READ | WRITE):
            self._hang_up()
        return False

    def _read_more(self, start: bytes) -> bytes:
        """Read what follows the first few bytes, and read much at once from now on."""
        size = self._context.read_size
        self._room = size
        try:
            return self._context.read(self._fd, size - len(start))
        except OSError:  # nothing more; or an error, which the next read meets again
            return b""

    def _call_if_writable(self) -> None:
        function = self._when_writable
        if function is None or self._closing is not None:
            return
        if self.unsent > self._context.limits.low_water_bytes:
            return
        self._when_writable = None
        try:
            self._handle(_ON_READABLE, function)
        except BaseException as error:
            self._fail(error)

    def _after_handler(self) -> None:
        if not (self._asked or self._paused or self._closing is not None):
            self._fail(NothingReadError())
        self.settle()

    def _fail(self, error: BaseException) -> None:
        context = self._context
        context.report(context.blame(error), "on_readable", error, (self,))
        self.finish(CloseReason.PLUGIN_FAILED)

    def _doom(self, reason: CloseReason) -> None:
        """Give up what is unsent: the connection ends with `reason` when it is settled."""
        if self._ended:
            return
        self._unsent = None
        self._begin_to_close(reason)

    def _begin_to_close(self, reason: CloseReason) -> None:
        self._closing = reason
        self.closed = self._attention = True
        self._forget()
        self._context.touched.append(self)

    def _forget(self) -> None:
        """Read nothing more, and send nothing more than what is unsent."""
        self._room = 0
        self._drop()

    def _watch(self) -> None:
        """Watch the socket for what is wanted of it now; not at all if that is nothing.

        With nothing wanted the kernel would still report a hang-up, in every turn.
        """
        if self._ended:
            return
        wanted = 0
        if not (self.eof or self._paused or self.congested or self._closing is not None):
            wanted = READ
        if self._unsent is not None or self._when_writable is not None:
            wanted |= WRITE
        if wanted == self._mask:
            return
        self._plain = NO_EVENT
        loop = self._context.loop
        if not wanted:
            loop.remove(self._fd)
        elif not self._mask:
            loop.add(self._fd, wanted, self.on_event)
        else:
            loop.modify(self._fd, wanted)
        self._mask = wanted

    def _hang_up(self) -> None:
        """Find out what an error or hang-up event without data means."""
        if self._context.error(self._fd):
            self.abort(_RESET)
        elif self._mask & READ:
            self.on_event(READ)

    def _end(self, reason: CloseReason) -> None:
        self._ended = True
        context, fd = self._context, self._fd
        if self._mask:
            context.loop.remove(fd)
            self._mask = 0
        if context.stalled:
            context.stalled.pop(self, None)
        if not self.eof and reason is not _RESET:
            discard_unread(context.read, fd)
        context.close(fd)  # first: who is told that it has ended may count on its descriptor
        context.on_end(self, reason)
        self._fd = -1
        on_close = context.on_close
        if on_close is not None:
            self._note(_ON_CLOSE)
            on_close(self, reason)
