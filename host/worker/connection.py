"""A connection over a socket: reads on demand, and calls plugins when something happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from host.errors import NothingReadError
from host.hookspecs import on_accept, on_drain, on_readable
from host.interfaces import CloseReason, ConnectionOrigin, Listener, TlsInfo, Worker
from host.ipc.current_call import KIND_MASK, SERIAL_UNIT, TASK, kind_of, serial_of
from host.net.sockets import LateOrigin, describe, origin
from host.runtime.loop import READ, WRITE
from host.telemetry.tracing import check_traceparent
from host.worker.context import FEW_BYTES, ListenerContext
from host.worker.sending import NO_EVENT, SendingHalf
from host.worker.start_tls import StartTlsPart

if TYPE_CHECKING:  # a worker without TLS does not import it
    from ssl import SSLObject

_ON_ACCEPT, _ON_READABLE, _ON_DRAIN = kind_of(on_accept), kind_of(on_readable), kind_of(on_drain)
_KNOWN = ConnectionOrigin, LateOrigin
_PEER_FINISHED, _RESET = CloseReason.PEER_FINISHED, CloseReason.RESET


class SocketConnection(StartTlsPart):
    """One accepted socket; it owns the descriptor and closes it.

    Plugins see it as `host.Connection`. How it sends is in the module `sending`, how it ends in
    `closing`, what plugins put off in `later`, and how it goes on with TLS in `start_tls`; here is
    what it reads, what it is watched for, and when plugins are called.

    The descriptor is non-blocking, and read(2) and write(2) do for a stream socket what recv(2)
    and send(2) do: a socket object would cost each message and each connection more.
    """

    _asked: bool  # the handler of the present or last event has called read()

    __slots__ = (
        "_asked",
        "_paused",
        "_trace",
        "allow_half_open",
        "born",
        "claim",
        "data",
    )

    def __init__(
        self, fd: int, address: Any, serial: int, context: ListenerContext, claim: int = 0
    ) -> None:
        SendingHalf.__init__(self, fd, context)  # super() would take longer, for each connection
        self._address = address
        self._call_word = context.call_word + serial * SERIAL_UNIT
        self._room = context.few
        self._mask = 0
        self._paused = False  # the plugin has paused reading
        self._when_writable = self._next_turn = None
        self._closing = None
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
        return f"{self._context.worker.pid}-{self.serial}"

    @property
    def serial(self) -> int:
        """Its number among all connections of its worker, from 1."""
        return serial_of(self._call_word)

    @property
    def task_word(self) -> int:
        """What the scoreboard says while a task or a callback of asyncio runs for it."""
        return self._call_word & KIND_MASK | TASK

    @property
    def peer(self) -> str:
        """The other end: `127.0.0.1:50211`, `[::1]:50211`, or `unix`."""
        address = self._address
        return address.peer if isinstance(address, _KNOWN) else describe(address)

    @property
    def origin(self) -> ConnectionOrigin:
        """All that was known of the client before `on_accept`, and its TLS if that came later."""
        address = self._address
        if isinstance(address, ConnectionOrigin):
            return address
        late = isinstance(address, LateOrigin)  # nobody has asked yet
        found = self._address = address.find(self._fd) if late else origin(address, self._fd)
        return found

    @property
    def tls(self) -> TlsInfo | None:
        """What was agreed on in its TLS handshake; None without one."""
        address = self._address  # `origin` would keep an object for each connection that is listed
        return address.tls if isinstance(address, _KNOWN) else None

    @property
    def uid(self) -> int | None:
        """The user whose process has connected to a Unix socket; None unless that was asked for."""
        address = self._address  # as above
        return address.uid if isinstance(address, _KNOWN) else None

    @property
    def tls_object(self) -> SSLObject | None:
        """What the module `ssl` knows of the TLS session; None without one, and at the end."""
        return self._context.tls_object(self._fd)

    @property
    def listener(self) -> Listener:
        """The listener that it came in on."""
        return self._context.listener

    @property
    def worker(self) -> Worker:
        """The worker that serves it."""
        return self._context.worker

    @property
    def trace(self) -> str | None:
        """The `traceparent` that its plugin has given it; None if there is none."""
        # Nothing is stored for connections that have none, which are nearly all.
        return getattr(self, "_trace", None)

    @trace.setter
    def trace(self, value: str | None) -> None:
        self._trace = None if value is None else check_traceparent(value)
        if value is not None:
            self._context.connections.note_traced(self)

    def fileno(self) -> int:
        """Return the socket's descriptor, which stays the connection's; -1 once it has ended."""
        return self._fd

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
        except OSError as error:
            self._read_failed(error)
            return b""
        size = len(data)
        if size < FEW_BYTES:
            if data:
                self._room = context.few
            else:
                self._finish_reading()
        elif room < context.read_size:
            data += self._read_more(data)
            size = len(data)
        self.bytes_in += size
        return data

    def read_into(self, buffer: bytearray | memoryview) -> int:
        """Read what has arrived into `buffer`; return how many bytes, 0 at the end or for none."""
        self._asked = True
        context = self._context
        if not memoryview(buffer).nbytes:
            raise ValueError("read_into() was given a buffer without room")
        if not self._room:
            return 0
        try:
            size = context.read_into(self._fd, [buffer])
        except BlockingIOError:
            return 0
        except OSError as error:
            self._read_failed(error)
            return 0
        self.bytes_in += size
        if not size:
            self._finish_reading()
        return size

    def pause_reading(self) -> None:
        """Leave what arrives in the kernel until `resume_reading()`."""
        self._paused = True
        self._watch()

    def resume_reading(self) -> None:
        """Take up reading again."""
        self._paused = False
        self._watch()

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
        self.follow_up()

    def on_event(self, mask: int) -> None:
        """Handle an event of the socket: the hot path.

        Nearly every event is *plain*: there is something to read, nothing waits to be sent, and the
        connection is neither paused nor closing. `_plain` is the one mask for which all of this
        holds, so a single comparison stands for many questions. Whatever makes one of them false
        sets `_plain` to NO_EVENT; the next event then takes the way through `_is_readable`, which
        asks all of them and sets `_plain` again.

        During the handler `_first` is None, which tells `write` with one test that this is the
        first piece, and that it is sent when the handler is over. Afterwards it is bytes again,
        so that a write from elsewhere is noticed and sent at the end of the turn (see `_queue`).

        What is called is written to the scoreboard before the call, since a worker that dies or
        hangs in it cannot say so any more. It is not taken back after the call, but once at the
        end of the turn.

        An exception is caught here, and not by a wrapper around the hook as with other hooks: that
        would be one call more for each message.
        """
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
        except BaseException as error:  # SystemExit too: it must end this connection only
            self.fail(error)
        data, self._first = self._first, b""
        if data:  # what `flush` does, without a call: most handlers write one piece
            write = context.write
            try:
                sent = write(self._fd, data)
            except OSError as error:
                self._not_sent(data, error)
            else:
                self.bytes_out += sent
                if sent != len(data):
                    self._keep_unsent(data, sent)
        elif self._pieces is not None:
            self.flush()
        if self._attention or not self._asked:
            self._after_handler()

    def drain(self, deadline: float) -> None:
        """Tell the plugin that the worker goes away, and see to what it did."""
        if self._closing is None:
            self._handle(_ON_DRAIN, self._context.on_drain, deadline)
            self.follow_up()

    def follow_up(self) -> None:
        """Send what is queued and act on what has happened to the connection."""
        if self._ended:
            return
        self.flush()
        if not self._attention:
            return
        if self._when_writable is not None:
            self._call_if_writable()
        if (
            self._closing is None
            and self.eof
            and not self.allow_half_open
            and not (self._context.answering and self._waits_for_answers())
        ):
            self._closing, self.closed = _PEER_FINISHED, True
        if self._closing is not None and self._unsent is None and self._has_said_all():
            self._end(self._closing)
        else:
            self._attention = False
            self._watch()

    def _is_readable(self, mask: int) -> bool:
        """Handle an event that is not plain; return whether the plugin is to read now."""
        if mask & WRITE:
            self._send_unsent()
            if self._when_writable is not None:
                self._attention = True
            if self._attention:
                self.follow_up()
            if self._ended:
                return False
        if mask & self._mask & READ and not self.closed:
            if self._mask == READ and self._nothing_waits():
                self._plain, self._first = READ, None
            return True
        if mask & ~(READ | WRITE):
            self._hang_up()
        return False

    def _finish_reading(self) -> None:
        """Note that the peer has finished sending."""
        self._room = 0
        self.eof = self._attention = True
        self._context.touched.append(self)  # the handler of another connection may have read

    def _read_failed(self, error: OSError) -> None:
        """End for an error of a read; who has ended without a word may still read our last ones."""
        reason = self._context.reason_of(error)
        (self.finish if reason is CloseReason.TRUNCATED else self.give_up)(reason)

    def _read_more(self, start: bytes) -> bytes:
        """Read what follows the first few bytes, and read much at once from now on."""
        size = self._context.read_size
        self._room = size
        try:
            return self._context.read(self._fd, size - len(start))
        except OSError:  # nothing more; or an error, which the next read meets again
            return b""

    def _after_handler(self) -> None:
        if not (self._asked or self._paused or self._closing is not None):
            self.fail(NothingReadError())
        self.follow_up()

    def fail(self, error: BaseException) -> None:
        """Tell of an error of the plugin, and end the connection for it."""
        context = self._context
        context.report(context.blame(error), "on_readable", error, (self,))
        self.finish(CloseReason.PLUGIN_FAILED)

    def _watch(self) -> None:
        """Watch the socket for what is wanted of it now; not at all if that is nothing.

        With nothing wanted the kernel would still report a hang-up, in every turn.
        """
        if self._ended:
            return
        wanted = 0
        if self._room and not (self._paused or self.congested or self._next_turn is not None):
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
            self.cut(_RESET)
        elif self._mask & READ:
            self.on_event(READ)
