"""How a connection ends: with one reason, after what is unsent or without it, and told once."""

from __future__ import annotations

from typing import Protocol

from host.hookspecs import on_close, on_readable
from host.interfaces import CloseReason, Connection
from host.ipc.current_call import CallKind, kind_of
from host.net.sockets import discard_unread
from host.runtime.loop import Poller
from host.telemetry.emitter import Telemetry
from host.telemetry.events import CONNECTION_CLOSED
from host.telemetry.tracing import trace_fields
from host.worker.sending import SendingHalf

_ON_READABLE, _ON_CLOSE = kind_of(on_readable), kind_of(on_close)
_PEER_FINISHED, _PLUGIN, _RESET = (
    CloseReason.PEER_FINISHED,
    CloseReason.PLUGIN,
    CloseReason.RESET,
)


class EndedConnection(Connection, Protocol):
    """A connection that has ended, as the log sees it.

    Attributes:
        born: when it was accepted, in seconds of the loop's clock.
        bytes_in, bytes_out: what plugins have read of it, and what the kernel has taken for it.
    """

    born: float
    bytes_in: int
    bytes_out: int


def log_closed(
    telemetry: Telemetry, loop: Poller, connection: EndedConnection, reason: CloseReason
) -> None:
    """Tell that a connection has ended: whose it was, where, how long, how much and why."""
    proxy = connection.origin.proxy
    telemetry.emit(
        CONNECTION_CLOSED,
        connection=connection.id,
        peer=connection.peer if proxy is None else f"{connection.peer} via {proxy.peer}",
        listener=connection.listener.address,
        slot=connection.worker.slot,
        seconds=loop.now - connection.born,
        bytes_in=connection.bytes_in,
        bytes_out=connection.bytes_out,
        reason=reason.value,
        **trace_fields(connection),
    )


class ClosingPart(SendingHalf):
    """The end of a connection, in two steps.

    At first it is *closing*: there is a reason, nothing more is read or written, and what is unsent
    still goes out. It has *ended* when that is done or given up: the descriptor is closed, and the
    worker and the plugins hear of it. The second step is taken by `follow_up`, so that hooks hear
    of the end when no handler of the connection is being called.

    The subclass sets the attributes that are declared here: a constructor of this class would be
    one call more for each connection.
    """

    __slots__ = ("_call_word", "_closing", "_ended", "_mask", "_room", "eof")

    _call_word: int  # what the scoreboard says while `on_readable` is called for it
    _closing: CloseReason | None
    _ended: bool
    _mask: int  # the events that the loop watches the socket for; 0 if it does not watch it
    _room: int  # how many bytes the next read asks for; 0 if nothing more is read
    eof: bool  # the peer has finished sending

    def close(self) -> None:
        """Send what is queued, then close."""
        self.finish(_PLUGIN)

    def finish(self, reason: CloseReason) -> None:
        """Send what is queued, then end with `reason`, at the latest when the turn ends."""
        if self._closing is None:
            self.flush()
        if self._closing is None:
            self._begin_to_close(reason)

    def abort(self) -> None:
        """Reset the connection; what is queued or on its way is lost."""
        if not self._ended:
            self._context.reset(self._fd)
            self.give_up(_PLUGIN)

    def cut(self, reason: CloseReason) -> None:
        """End with `reason` now; what is queued is lost."""
        self.give_up(reason)
        self.follow_up()

    def give_up(self, reason: CloseReason) -> None:
        """Give up what is unsent: the connection ends with `reason` when it is followed up.

        If anything is lost, the peer sees a reset: an answer that was cut would look complete.
        """
        if self._ended:
            return
        if reason is not _RESET and (unsent := self.unsent):
            self._context.reset(self._fd)
            if reason is not _PLUGIN:  # the plugin's own choice
                self._context.losses.cut(self, reason, unsent)
        if self._unsent is not None:
            self._context.connections.unsent.remove(self._unsent.in_memory)
            self._unsent.close()
            self._unsent = None
        self._begin_to_close(reason)

    def lose(self, size: int) -> None:
        """Tell that `size` bytes were written that cannot be sent any more.

        A plugin cannot know that a peer is about to reset, or has closed the connection itself. But
        a peer that has only finished sending may well have waited for these bytes.
        """
        if self._closing is _PEER_FINISHED:
            self._context.losses.written_late(self, size)

    def close_in_fork(self) -> None:
        """Have nothing to do with the socket any more, in a child that a plugin has forked."""
        self._ended = self.closed = True
        self._closing = _RESET
        self._stop_traffic()
        if self._fd >= 0:
            self._context.close(self._fd)

    def follow_up(self) -> None:
        """Send what is queued and act on what has happened to the connection."""
        raise NotImplementedError

    def _begin_to_close(self, reason: CloseReason) -> None:
        """Have the connection end with `reason` when all is sent and it is followed up."""
        self._closing = reason
        self.closed = self._attention = True
        self._stop_traffic()
        self._context.touched.append(self)

    def _has_said_all(self) -> bool:
        """Say the last word, if there is one; tell whether nothing waits of it."""
        context = self._context
        if context.farewell is None:
            return True
        self._unsent = context.farewell(self._fd)
        if self._unsent is None:
            return True
        context.stalled[self] = context.loop.now
        return False

    def _stop_traffic(self) -> None:
        """Read nothing more, and send nothing more than what is unsent."""
        self._room = 0
        self._drop_queued()

    def _end(self, reason: CloseReason) -> None:
        """Close the descriptor and tell the worker, then the plugins.

        What has arrived and nobody has read is read first: close(2) would reset the peer otherwise,
        which could then lose the last bytes that were sent to it.
        """
        self._ended = True
        context, fd = self._context, self._fd
        if self._mask:
            context.loop.remove(fd)
            self._mask = 0
        if context.stalled:
            context.stalled.pop(self, None)
        if context.timers and (timers := context.timers.pop(self, None)):
            timers.cancel()
        if context.answering and (answers := context.answering.pop(self, None)):
            for function in answers.at_end:
                function()
        if not self.eof and reason is not _RESET:
            discard_unread(context.discard, fd)
        context.close(fd)  # before anyone hears of the end: the descriptor can be used again then
        context.on_end(self, reason)
        if context.log_closed is not None:
            context.log_closed(self, reason)
        self._fd = -1
        on_close = context.on_close
        if on_close is not None:
            self._write_call(_ON_CLOSE)
            on_close(self, reason)

    def _write_call(self, called: CallKind) -> None:
        """Write to the scoreboard which hook is called for this connection from now on."""
        context = self._context
        context.cells[context.call_cell] = self._call_word - _ON_READABLE + called
