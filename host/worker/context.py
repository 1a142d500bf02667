"""What all connections of one listener in one worker share."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import get_ident, main_thread
from typing import TYPE_CHECKING, Any

from host.hookspecs import on_datagram, on_readable
from host.interfaces import CloseReason, Listener, Timer, Worker
from host.ipc.current_call import kind_of, pack_call, unpack_call
from host.ipc.scoreboard import CURRENT_CALL, Cells, Row
from host.net.sockets import pending_error, reset_on_close
from host.runtime.loop import Poller
from host.settings import ConnectionLimits
from host.telemetry.emitter import ReportFailure
from host.worker.backlog import Farewell, SendFile, Write
from host.worker.losses import Losses, NoLosses
from host.worker.timers import ConnectionTimers
from host.worker.unsent import UnsentBytes

if TYPE_CHECKING:  # a worker without TLS does not import it
    from ssl import SSLObject

Buffers = Sequence[bytearray | memoryview]

FEW_BYTES = 448
"""How much a read asks for at first. CPython allocates and frees objects of up to 512 bytes several
times faster than larger ones, and a bytes object of this size, with its header, is one of them."""


_ON_DATAGRAM = kind_of(on_datagram)
_FEW_TRACED = 64
"""So many connections with traces that have ended may be kept."""


@dataclass(slots=True, eq=False)
class PendingAnswers:
    """Answers of a connection that are to come from outside of its handler.

    Attributes:
        count: how many.
        timer: ends the wait for them; None as long as the peer has not finished sending.
        is_late: whether that time is up, so that nobody waits for them any more.
        at_end: what is called if the connection ends before they have come.
    """

    count: int = 0
    timer: Timer | None = None
    is_late: bool = False
    at_end: dict[Callable[[], object], None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class OpenConnections:
    """The open connections of a worker, and those that the end of a turn has work with.

    A worker makes it once, and all its listeners share it. Connections are `Any` here and below,
    since their class knows this module.

    Attributes:
        open: all connections that are open in this worker. The acceptor adds them.
        touched: connections to which something has happened that their own event handler does not
            finish: a write by another handler or after a flush, or the end. They are followed
            up at the end of the turn, in this order. A connection may be in it twice.
        stalled: connections whose peer does not take what is sent, and since when, in seconds of
            the loop's clock. A connection enters and leaves by itself.
        unsent: counts what waits for them.
        timers: the timers of those that have any.
        answering: the answers that are still to come for those that wait for any.
        congestion: who is told when a connection becomes congested, and when no more.
        traced: those that have been given a trace, by their serial numbers; some may have ended.
    """

    open: set[Any] = field(default_factory=set)
    touched: list[Any] = field(default_factory=list)
    stalled: dict[Any, float] = field(default_factory=dict)
    unsent: UnsentBytes = field(default_factory=UnsentBytes)
    timers: dict[Any, ConnectionTimers] = field(default_factory=dict)
    answering: dict[Any, PendingAnswers] = field(default_factory=dict)
    pending: dict[Any, None] = field(default_factory=dict)
    congestion: dict[Any, Callable[[bool], object]] = field(default_factory=dict)
    traced: dict[int, Any] = field(default_factory=dict)

    def note_traced(self, connection: Any) -> None:
        """Note that a connection has a trace; nobody else pays for that, not even at its end."""
        traced = self.traced
        traced[connection.serial] = connection
        if len(traced) > 2 * len(self.open) + _FEW_TRACED:
            for serial in [each for each, one in traced.items() if one not in self.open]:
                del traced[serial]


def served_now(row: Row, connections: OpenConnections) -> object:
    """Return the connection that a plugin is called for just now, if that has a trace.

    Args:
        row: the worker's own, which says what is called.
        connections: the worker's.

    Returns:
        None for any other, and in threads: they may work for whom they like.
    """
    call = unpack_call(row.get(CURRENT_CALL))
    if call is None or call.called == _ON_DATAGRAM or get_ident() != main_thread().ident:
        return None
    return connections.traced.get(call.serial)


def _no_tls(_fd: int) -> None:
    return None


def _reset_by_the_peer(_error: OSError) -> CloseReason:
    return CloseReason.RESET


def _no_plugin_hears(_connection: Any) -> bool:
    return True


def _nobody_reads(_serial: int, _text: bytes) -> None:
    """Leave out what a connection does: there is no supervisor."""


def _without_tables(_connection: Any, name: str, _unread: bytes) -> Callable[[], object]:
    raise ValueError(f'start_tls("{name}"): the settings have no table [tls.{name}], nor any other')


@dataclass(slots=True, eq=False)
class ListenerContext:
    """What all connections of one listener in one worker share.

    The last nine attributes repeat a value of `limits` or `connections`. They are read for each
    connection or message, and one step to the value is faster than two.

    Attributes:
        on_readable: the bound hook of the listener's plugin.
        on_accept, on_close, on_drain, on_tls: bound hooks; they isolate failures and say whether
            there were none. The first two are None if no plugin implements them.
        blame: names the plugin that an exception of `on_readable` comes from.
        report: tells of a failed hook: plugin, hook, error, the hook's arguments.
        on_end: called with a connection that has ended, before its plugins hear of it.
        log_closed: tells the log of that connection and of the reason; None if nobody asks.
        limits: the settings `[connection]`.
        connections: the worker's connections.
        cells, call_cell: the scoreboard's cells, and which of them says what is being called.
        bytes_in_cell, bytes_out_cell: which of them count what the listener's connections have
            read and sent.
        losses: told of bytes that cannot arrive.
        read, read_into, write, write_pieces, send_file, close: what is done with descriptors:
            read(2), readv(2), write(2), writev(2), sendfile(2) and close(2).
        farewell: says the last word of a connection that has sent all, and returns what waits of
            it; None if nothing does. None if there is no such word.
        discard: reads what nobody wants any more before close(2): read(2), also with TLS, whose
            session may have given out all it can while the kernel has more.
        error: returns the error that is pending on one, 0 for none.
        reset: makes close(2) reset the peer.
        reason_of: returns why a connection ends whose read or write has failed.
        start_tls: returns what makes a connection go on with TLS, once what is queued is sent; or
            raises why it cannot. It is given the connection, the NAME of a table [tls.NAME], and
            what the plugin has read too much.
        tls_object: returns what the module `ssl` knows of the TLS session of a descriptor.
        note_doing: writes down, for the supervisor, what is done for the connection with a serial
            number.
        call_word: what that cell says while `on_readable` is called, but for the serial number.
        few: how many bytes a read asks for as long as no more than that comes at a time.
        read_size: how many bytes it asks for otherwise.
        high_water, low_water: bytes written and not sent above which reading stops, and below which
            it goes on.
        open, touched, stalled, timers, answering: those of `connections`.
    """

    listener: Listener
    worker: Worker
    loop: Poller
    on_accept: Callable[[Any], bool] | None
    on_readable: Callable[[Any], object]
    on_close: Callable[[Any, CloseReason], object] | None
    on_drain: Callable[[Any, float], object]
    blame: Callable[[BaseException], str]
    report: ReportFailure
    on_end: Callable[[Any, CloseReason], None]
    limits: ConnectionLimits
    connections: OpenConnections
    log_closed: Callable[[Any, CloseReason], object] | None = None
    cells: Cells = field(default_factory=lambda: [0, 0, 0])
    call_cell: int = 0
    bytes_in_cell: int = 1
    bytes_out_cell: int = 2
    losses: Losses = field(default_factory=NoLosses)
    read: Callable[[int, int], bytes] = os.read
    read_into: Callable[[int, Buffers], int] = os.readv
    write: Callable[[int, bytes], int] = os.write
    write_pieces: Write = os.writev
    send_file: SendFile = os.sendfile
    close: Callable[[int], None] = os.close
    farewell: Callable[[int], Farewell | None] | None = None
    discard: Callable[[int, int], bytes] = os.read
    error: Callable[[int], int] = pending_error
    reset: Callable[[int], None] = reset_on_close
    reason_of: Callable[[OSError], CloseReason] = _reset_by_the_peer
    on_tls: Callable[[Any], bool] = _no_plugin_hears
    start_tls: Callable[[Any, str, bytes], Callable[[], object]] = _without_tables
    tls_object: Callable[[int], SSLObject | None] = _no_tls
    note_doing: Callable[[int, bytes], None] = _nobody_reads
    call_word: int = field(init=False)
    few: int = field(init=False)
    read_size: int = field(init=False)
    high_water: int = field(init=False)
    low_water: int = field(init=False)
    open: set[Any] = field(init=False)
    touched: list[Any] = field(init=False)
    stalled: dict[Any, float] = field(init=False)
    timers: dict[Any, ConnectionTimers] = field(init=False)
    answering: dict[Any, PendingAnswers] = field(init=False)

    def __post_init__(self) -> None:
        """Take over from `limits` and `connections` what is read often."""
        limits, connections = self.limits, self.connections
        self.call_word = pack_call(kind_of(on_readable), listener=self.listener.index)
        self.read_size = limits.read_size_bytes
        self.high_water, self.low_water = limits.high_water_bytes, limits.low_water_bytes
        self.few = min(FEW_BYTES, self.read_size)
        self.open, self.touched, self.stalled = (
            connections.open,
            connections.touched,
            connections.stalled,
        )
        self.timers, self.answering = connections.timers, connections.answering
