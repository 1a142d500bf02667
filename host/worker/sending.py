"""The sending half of a connection: sends once a turn, keeps what the peer does not take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from host.interfaces import CloseReason, HasFileno
from host.worker.backlog import (
    Backlog,
    BytesBacklog,
    FilePart,
    FilesBacklog,
    FileUnsendableError,
    rest_of,
)
from host.worker.context import ListenerContext

NO_EVENT = 0
"""A mask that no event has."""


class SendingHalf:
    """What a connection writes, until the kernel has taken it.

    What is written waits for the one send at the end of the handler: the first piece by itself,
    which is all that most handlers write, and from the second one on in a list. What the kernel
    does not take moves to a backlog, to which further writes are added until it is empty again.
    """

    __slots__ = (
        "_attention",
        "_context",
        "_counted_in",
        "_counted_out",
        "_fd",
        "_first",
        "_in_pieces",
        "_pieces",
        "_plain",
        "_unsent",
        "bytes_in",
        "bytes_out",
        "closed",
        "congested",
        "last_active",
    )

    def __init__(self, fd: int, context: ListenerContext) -> None:
        self._fd, self._context = fd, context
        # What is written first; None: nothing yet, and it needs nothing but to be sent.
        self._first: bytes | None = b""
        self._pieces: list[bytes] | None = None  # all that is written, if it is more than one
        self._in_pieces = 0  # bytes in them
        self._unsent: Backlog | None = None  # if there is one, all that is written goes to it
        self._plain = NO_EVENT  # the event that needs the handler and nothing else
        self._attention = False  # something other than plain traffic is to be followed up
        self.congested = False  # by the high-water mark
        self.closed = False  # as soon as it is closing: nothing more can be read or written
        self.last_active = context.loop.now
        self.bytes_in = self.bytes_out = 0  # what was read, and what the kernel has taken
        self._counted_in = self._counted_out = 0  # of these, what the scoreboard has

    @property
    def unsent(self) -> int:
        """Bytes written and not yet taken by the kernel."""
        return len(self._first or b"") + self._in_pieces + len(self._unsent or b"")

    def write(
        self,
        data: bytes | bytearray | memoryview = b"",
        /,
        *more: bytes | bytearray | memoryview,
    ) -> None:
        """Queue pieces for the send at the end of the handler or turn."""
        if type(data) is not bytes:
            data = _as_bytes(data)
        if more:
            for piece in (data, *more):
                self.write(piece)
            return
        if self._first is None:
            self._first = data
            return
        pieces = self._pieces
        if pieces is None:
            self._queue(data)
            return
        pieces.append(data)
        self._in_pieces = size = self._in_pieces + len(data)
        if size > self._context.high_water:
            self.flush()

    def flush(self) -> None:
        """Send now as much of what is queued as the kernel takes."""
        data, pieces = self._first, self._pieces
        if pieces is not None:
            data = b"".join(pieces)
            self._pieces, self._in_pieces = None, 0
        if not data:
            return
        self._first = b""
        write = self._context.write
        try:
            sent = write(self._fd, data)
        except OSError as error:
            self._not_sent(data, error)
        else:
            self.bytes_out += sent
            if sent != len(data):
                self._keep_unsent(data, sent)

    def follow_congestion(self, function: Callable[[bool], object] | None) -> None:
        """Call `function` whenever `congested` has changed; None: no more."""
        followers = self._context.connections.congestion
        if function is None:
            followers.pop(self, None)
        else:
            followers[self] = function

    @property
    def water_marks(self) -> tuple[int, int]:
        """The low-water and the high-water mark, in bytes."""
        return self._context.low_water, self._context.high_water

    def send_file(self, file: int | HasFileno, offset: int = 0, count: int | None = None) -> None:
        """Queue a part of a file behind what was written."""
        part = FilePart(file, offset, count)
        self.flush()
        if self.closed or not part.left:
            part.close()
            return
        before = self._unsent
        if before is None:
            self._context.stalled[self] = self._context.loop.now
        backlog = before if isinstance(before, FilesBacklog) else FilesBacklog(before)
        self._unsent = backlog
        backlog.append_file(part)
        self._first, self._plain = b"", NO_EVENT  # what a handler writes next goes behind it
        self._send_unsent()
        self._limit_unsent(0)
        self._watch()

    def count_bytes(self) -> None:
        """Add to the scoreboard what was read and sent since the last call."""
        context, received, sent = self._context, self.bytes_in, self.bytes_out
        cells = context.cells
        cells[context.bytes_in_cell] += received - self._counted_in
        cells[context.bytes_out_cell] += sent - self._counted_out
        self._counted_in, self._counted_out = received, sent

    def give_up(self, reason: CloseReason) -> None:
        """Give up what is unsent: the connection ends with `reason` when it is followed up."""
        raise NotImplementedError

    def fail(self, error: BaseException) -> None:
        """Tell of an error of the plugin, and end the connection for it."""
        raise NotImplementedError

    def lose(self, size: int) -> None:
        """Tell that `size` bytes were written that cannot be sent any more."""
        raise NotImplementedError

    def _queue(self, data: bytes) -> None:
        """Queue a piece that `write` cannot: not the first of a handler, or not in a handler.

        There are three places for it, and the order of what is sent depends on the right one. What
        the kernel has not taken is in `_unsent`: all that follows has to go behind it. A piece that
        follows another one begins the list `_pieces`. Any other piece becomes `_first`, as in a
        handler. But it may come from a timer or from the handler of another connection, and then no
        handler of this one ends that would send it. So the connection is put into `touched`, and
        the end of the turn sends it.

        Such a piece must not be overwritten. `on_event` sets `_first` to None for a plain event,
        without looking what is there, since looking would cost every message. So there is no plain
        event (`_plain` is NO_EVENT) until the next event has found that nothing waits any more.

        A connection that is closed never has None in `_first` nor a list in `_pieces`: `write`
        always comes here then, and does not have to ask on its own.
        """
        if self.closed or not data:
            if data:
                self.lose(len(data))
            return
        context, first = self._context, self._first
        self.last_active = context.loop.now
        if self._unsent is not None:
            self._unsent.append(data)
            self._limit_unsent(len(data))
        elif first:
            self._first, self._pieces = b"", [first, data]
            self._in_pieces = len(first) + len(data)
            if self._in_pieces > context.high_water:
                self.flush()
        else:
            self._first, self._plain = data, NO_EVENT
            touched = context.touched
            if not touched or touched[-1] is not self:  # a handler may flush after each write
                touched.append(self)
            if len(data) > context.high_water:
                self.flush()

    def _not_sent(self, data: bytes, error: OSError) -> None:
        """Deal with the error that a send has met."""
        if isinstance(error, BlockingIOError):
            self._keep_unsent(data, 0)
        else:
            self.give_up(self._context.reason_of(error))

    def _keep_unsent(self, data: bytes, sent: int) -> None:
        """Keep what the kernel did not take until the peer makes room."""
        self._unsent = BytesBacklog(rest_of(data, sent))
        self._context.stalled[self] = self._context.loop.now
        self._limit_unsent(len(self._unsent))
        self._watch()

    def _nothing_waits(self) -> bool:
        """Tell whether all that was written is sent."""
        return not self._first and self._pieces is None and self._unsent is None

    def _drop_queued(self) -> None:
        """Send nothing more than what is unsent."""
        self._first, self._pieces, self._in_pieces = b"", None, 0
        self._plain = NO_EVENT

    def _limit_unsent(self, more: int) -> None:
        """Stop reading above the high-water mark; give the connection up above the hard cap.

        A piece that nothing waits before may be larger than the cap: it is in memory already. Of a
        connection that tells when to write no more, the same holds for what follows less than that.

        Args:
            more: how many bytes have just become unsent. They count for the whole worker, too, and
                that may have given this connection up.
        """
        self._context.connections.unsent.add(more, self._context.stalled)
        unsent = self._unsent
        if unsent is None:
            return
        cap, follower = self._context.limits.max_unsent_bytes, self._congestion_follower()
        if more < unsent.in_memory > cap + (more if follower else 0):
            self.give_up(CloseReason.UNSENT_LIMIT)
        elif not self.congested and len(unsent) > self._context.high_water:
            self.congested = True
            self._watch()
            if follower:
                follower(True)

    def _send_unsent(self) -> None:
        """Send what is unsent as far as the kernel takes it; begin to read again if it was much."""
        context, unsent = self._context, self._unsent
        if unsent is None:
            return
        before = unsent.in_memory
        try:
            sent = unsent.send(self._fd, context.write_pieces, context.send_file)
        except BlockingIOError:
            return
        except OSError as error:
            self.give_up(self._context.reason_of(error))
            return
        except FileUnsendableError as error:
            self.fail(error)
            self.give_up(CloseReason.PLUGIN_FAILED)
            return
        context.connections.unsent.remove(before - unsent.in_memory)
        self.bytes_out += sent
        self.last_active = now = context.loop.now
        if unsent:
            context.stalled[self] = now
        else:
            self._unsent = None
            context.stalled.pop(self, None)
            self._attention = True
        if self.congested and len(unsent) <= context.low_water:
            self.congested = False
            self._attention = True
            if follower := self._congestion_follower():
                follower(False)

    def _congestion_follower(self) -> Callable[[bool], object] | None:
        """Return who is told of congestion."""
        followers = self._context.connections.congestion
        return followers.get(self) if followers else None

    def _watch(self) -> None:
        """Watch the socket for what is wanted of it now; not at all if that is nothing."""
        raise NotImplementedError


def _as_bytes(data: Any) -> bytes:
    """Return a copy of `data`.

    Raises:
        TypeError: it is not bytes.
    """
    try:
        return bytes(memoryview(data))
    except TypeError:
        cure = "encode it, as in write(text.encode())" if isinstance(data, str) else "give it bytes"
        raise TypeError(f"write() was given {type(data).__name__}: {cure}") from None
