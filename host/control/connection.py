"""A connection to the control socket: its requests one after the other, and their responses."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from host.control.commands import CommandError
from host.control.replies import Reply, pieces
from host.control.wire import MAX_REQUEST_BYTES
from host.net.credentials import credentials
from host.runtime.loop import READ, WRITE, Loop, TimerHandle

IDLE_SECONDS = 60.0
"""How long a client has for its next request."""
TAKE_SECONDS = 5.0
"""How long a client has to take a piece of its response."""

_READ_BYTES = 16_384


class ControlConnection:
    """One client that is connected.

    A request is read, waits for `take_request`, and is answered by `reply` or `send_page`; only
    when the client has taken the response is the next one read. So at most one request and one read
    are in memory. What is left of a response with several pages is kept until another one follows.

    Args:
        loop: the supervisor's loop.
        sock: the accepted socket, non-blocking; it is closed by `close`, `abandon`, or by itself.
        on_request: called when a request waits for its turn.
        on_closed: called when the connection has closed, whatever the reason, but for `abandon`.

    Attributes:
        pid, uid: the client's process and user, as the kernel says.
        received: what came and was not taken yet: less than a request and one read.
    """

    __slots__ = (
        "_answering",
        "_closed",
        "_closing",
        "_ended",
        "_gone",
        "_line",
        "_loop",
        "_on_closed",
        "_on_request",
        "_page",
        "_pieces",
        "_searched",
        "_sock",
        "_timer",
        "_unsent",
        "_watched",
        "pid",
        "received",
        "uid",
    )

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        on_request: Callable[[ControlConnection], object],
        on_closed: Callable[[ControlConnection], object],
    ) -> None:
        self._loop, self._sock = loop, sock
        self._on_request, self._on_closed = on_request, on_closed
        self.pid, self.uid = credentials(sock)
        self.received = bytearray()
        self._searched = 0  # how much of `received` has no end of a request
        self._line: bytes | None = None  # a request that waits for its turn
        self._unsent: bytes | memoryview = b""  # of a response: what is written and not sent
        self._pieces: Iterator[bytes] = iter(())  # of a response: what is not written
        self._page = 1  # of the response: which one is written now, or was last
        self._answering = False  # a request has had its turn, its response is not taken yet
        self._ended = False  # the client sends nothing more
        self._gone = False  # the client has hung up
        self._closing = False  # closed when the client has taken its response
        self._closed = False
        self._watched = READ
        self._timer: TimerHandle | None = None

    def open(self) -> None:
        """Begin to read requests.

        Raises:
            OSError: ENOSPC, ENOMEM of epoll_ctl(2); the socket is closed.
        """
        try:
            self._loop.add(self._sock.fileno(), READ, self.on_event)
        except OSError:
            self._sock.close()
            raise
        self._close_after(IDLE_SECONDS)

    @property
    def idle_until(self) -> float | None:
        """When it is closed unless a request comes; None while a request is under way."""
        return self._timer.when if self._timer is not None and self._may_send else None

    @property
    def _may_send(self) -> bool:
        """Whether the client may send now: what it has sent before is done with."""
        return not (self._answering or self._ended or self._line is not None)

    def take_request(self) -> bytes:
        """Return the request that waits; it is answered by `reply`."""
        line, self._line = self._line, None
        assert line is not None
        self._answering = True
        if self._gone:
            self.close()
        return line

    def reply(self, head: Mapping[str, Any] | None = None) -> Reply:
        """Return what answers the request under way; `head` is what the response begins with."""
        return Reply(self._respond, head or {})

    def send_page(self, number: int) -> None:
        """Answer the request under way with the next page of the last response.

        Raises:
            CommandError: there is no such page.
        """
        piece = next(self._pieces, b"") if number == self._page + 1 else b""
        if not piece:
            raise CommandError(f"the last response has no page {number} that comes next")
        self._page = number
        self._send(piece)

    def close(self) -> None:
        """Close the connection; a response that was not taken yet is lost."""
        self._closed = True
        self._unsent, self._pieces = b"", iter(())
        self._loop.remove(self._sock.fileno())
        self._sock.close()
        self._close_after(None)
        self._on_closed(self)

    def abandon(self) -> None:
        """Close the socket and leave the loop as it is; nobody is told."""
        self._closed = True
        self._sock.close()

    def on_event(self, mask: int) -> None:
        """Do what the loop has seen to be possible."""
        if mask & WRITE and self._unsent:
            self._flush()
        elif self._may_send and not self._closed:
            self._read()  # to the end of file, if it has hung up
        elif mask & ~(READ | WRITE) and not self._closed and _hung_up(self._sock):
            self._hang_up()

    def _read(self) -> None:
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # ECONNRESET: it did not take all of a response
            self.close()
            return
        self.received += data
        self._ended = not data
        self._go_on()

    def _hang_up(self) -> None:
        """Let the client go; a request that it has sent completely is carried out."""
        if self._line is None:
            self.close()
        else:
            self._gone = True
            self._loop.remove(self._sock.fileno())

    def _go_on(self) -> None:
        """Find the next request; nothing is under way."""
        if self._closing:
            self.close()
            return
        try:
            self._line = self._split_line()
            if self._line is None and self._ended and self.received:
                raise CommandError("a request ends with a newline")
        except CommandError as error:
            self._closing = self._answering = True
            self.reply().error(str(error))
            return
        if self._line is not None:
            self._close_after(None)
            self._watch(0)
            self._on_request(self)
        elif self._ended:
            self.close()
        else:
            self._watch(READ)

    def _split_line(self) -> bytes | None:
        """Take the next request from what was received; None if it is not complete.

        Raises:
            CommandError: it is too long.
        """
        at = self.received.find(b"\n", self._searched)
        self._searched = len(self.received)
        if (self._searched if at < 0 else at) > MAX_REQUEST_BYTES:
            raise CommandError(f"a request is a line of at most {MAX_REQUEST_BYTES} bytes")
        if at < 0:
            return None
        line = bytes(self.received[:at])
        del self.received[: at + 1]
        self._searched = 0
        return line

    def _respond(self, response: dict[str, Any]) -> None:
        if self._closed:
            return
        self._pieces, self._page = pieces(response), 1
        self._send(next(self._pieces))

    def _send(self, piece: bytes) -> None:
        self._unsent = memoryview(piece)
        self._close_after(TAKE_SECONDS)
        self._flush()

    def _flush(self) -> None:
        """Send what the client takes now, at most one piece; stop at the end of a page."""
        try:
            sent = self._sock.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        page_ends = self._unsent[-1:] == b"\n"
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._unsent = b"" if page_ends else memoryview(next(self._pieces))
            self._close_after(TAKE_SECONDS if self._unsent else IDLE_SECONDS)
        if self._unsent:
            self._watch(WRITE)
        else:
            self._answering = False
            self._go_on()

    def _close_after(self, seconds: float | None) -> None:
        """Close the connection in so many seconds, or not by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = self._loop.call_at(self._loop.now + seconds, self.close)

    def _watch(self, events: int) -> None:
        if self._watched != events and not self._gone:
            self._watched = events
            self._loop.modify(self._sock.fileno(), events)


def _hung_up(sock: socket.socket) -> bool:
    """Ask a socket itself: the event may be that of another one that had its descriptor before."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))
