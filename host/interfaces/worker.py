"""What plugins see in a worker: the worker, and its connections, which know each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from host.interfaces.bus import Bus
from host.interfaces.pools import Pool
from host.interfaces.values import ConnectionOrigin, Listener

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from ssl import SSLObject


class HasFileno(Protocol):
    """An open file."""

    def fileno(self) -> int:
        """Return its descriptor."""


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Forget the call; harmless if it was made already."""


class RequestLog(Protocol):
    """Writes access lines of requests; see `Worker.log_request`."""

    def __call__(
        self,
        connection: Connection,
        *,
        peer: str,
        method: str,
        path: str,
        status: int,
        seconds: float,
        bytes_out: int,
    ) -> None:
        """Tell that a request was answered: the event `request_answered`.

        Args:
            connection: that it came over.
            peer: the client as text, as far as the protocol knows it better than the connection.
            method: what was to be done.
            path: with what; nothing secret, such as a query.
            status: the number that says what came of it.
            seconds: how long it took.
            bytes_out: how many bytes the answer has, without its head.
        """


class Worker(Protocol):
    """The worker process that a hook runs in."""

    @property
    def slot(self) -> int:
        """Stable number, 0 … workers-1."""

    @property
    def pid(self) -> int:
        """Process id."""

    @property
    def generation(self) -> int:
        """How many reloads came before this worker."""

    @property
    def bus(self) -> Bus:
        """The bus to the other workers."""

    @property
    def asyncio(self) -> AbstractEventLoop:
        """The asyncio event loop of this worker: the host's own loop, as asyncio knows loops.

        It is made when it is first asked for, which must be in `on_worker_start`; whoever does not
        ask pays nothing. `host.asyncio.AsyncioProtocol` asks for it by itself.

        Raises:
            RuntimeError: nobody has asked for it before the worker was ready.
        """

    @property
    def log_request(self) -> RequestLog | None:
        """What writes an access line for a request; None unless the setting `log.access` asks.

        For protocols in which a connection has several requests. Whoever finds None at the start
        of the worker need not even measure.
        """

    @property
    def connections(self) -> Iterable[Connection]:
        """The connections open in this worker, as a snapshot."""

    def listener_connections(self, listener: Listener) -> Iterable[Connection]:
        """Return those of them that came in on `listener`, as a snapshot."""

    def call_later(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Call `function` on the loop, once, after `seconds`; an exception ends up in the log."""

    def call_every(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Call `function` on the loop again and again, first after `seconds`, until cancelled.

        Calls keep to their times, however long each takes; those that the loop is too busy for are
        left out. An exception ends up in the log, and the next call is made all the same.

        Raises:
            ValueError: `seconds` is below 0.001, or no number.
        """

    def call_from_thread(self, function: Callable[[], object]) -> None:
        """Call `function` on the loop soon; the only method that other threads may use."""

    def pool(self, name: str = "default") -> Pool:
        """Return the pool that the settings have as `[pools.NAME]`: work off the loop.

        The processes or threads of a pool are started when it is asked for first.

        Raises:
            PoolError: the settings have no such pool.
        """


class Datagram(Protocol):
    """One datagram that has arrived at a UDP listener, as a plugin sees it.

    The address of its sender may be forged. Nothing of it is kept, and nothing here blocks.
    """

    @property
    def data(self) -> bytes:
        """Its bytes, up to 65,507; none if it is empty."""

    @property
    def peer(self) -> str:
        """The sender: `127.0.0.1:50211` or `[::1]:50211`. All datagrams of one come in order."""

    @property
    def listener(self) -> Listener:
        """The listener that it came in on."""

    @property
    def worker(self) -> Worker:
        """The worker that handles it; another may handle the next one of the same sender."""

    def reply(self, data: bytes | bytearray | memoryview) -> bool:
        """Send one datagram to the sender, from the address that was asked; now or later.

        Until the sender is trusted, all that answers a datagram has `reply_factor` times its bytes
        at most. What exceeds that is dropped and counted, and so is what the kernel does not take
        at once. A reply that is not to be cut up on its way has no more than 1,232 bytes (IPv6
        carries 1,280 everywhere, RFC 8200).

        Returns:
            Whether the kernel has taken it, which says nothing of its arrival.

        Raises:
            ValueError: it is longer than a datagram can be (65,507 bytes, 65,527 with IPv6).
        """

    def trust(self) -> None:
        """Let its sender be answered with any number of bytes from now on.

        Call it for one who has shown that it receives what is sent to it: by what it sends back of
        a reply that nobody can guess. A worker remembers 10,000 of them for each listener, and
        another worker does not know them.
        """


class Connection(Protocol):
    """One accepted connection, as a plugin sees it.

    Nothing here blocks. After the connection has ended every method is harmless: `read()`
    gives `b""`, and what is written is dropped, since a peer may go at any moment.
    """

    data: Any
    """The plugin's own state; None until the plugin sets it. If it has the connection itself, set
    it to None in `on_close`: both are freed then, and not when the garbage collector finds them."""

    allow_half_open: bool
    """Set it to keep the connection after the peer has finished sending. Unless it is set, the
    host sends what is queued and closes. The plugin then has to call `close()` itself."""

    doing: str
    """What is done for the peer just now, such as "GET /page"; "" for nothing. Operators read it:
    in the list of connections and in reports of workers that hang. Set it when something
    begins that takes its time, and to "" when it is over. 100 characters of it are kept. Secrets
    do not belong into it."""

    trace: str | None
    """The trace that it belongs to, as the text of a header `traceparent` (W3C Trace Context):
    `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`. None until the plugin sets it, as
    often as it likes. Lines of the log about the connection then have `trace_id` and `span_id`. A
    text that is no `traceparent` is a ValueError."""

    @property
    def id(self) -> str:
        """Unique among all connections of this host."""

    @property
    def peer(self) -> str:
        """The other end: `127.0.0.1:50211`, `[::1]:50211`, or `unix`."""

    @property
    def origin(self) -> ConnectionOrigin:
        """All that was known of the client before `on_accept`; `tls` may be set later, too."""

    @property
    def tls_object(self) -> SSLObject | None:
        """What Python's module `ssl` knows of the host's TLS session, for what `origin.tls` lacks.

        To ask it, say for a channel binding (`get_channel_binding`), never to read or write by it.
        None without TLS, and once the connection has ended.
        """

    @property
    def listener(self) -> Listener:
        """The listener that it came in on."""

    @property
    def worker(self) -> Worker:
        """The worker that serves it, for its whole life."""

    @property
    def closed(self) -> bool:
        """True as soon as it is closing: nothing more can be read or written."""

    @property
    def eof(self) -> bool:
        """True once `read()` has met the end of what the peer sends."""

    @property
    def unsent(self) -> int:
        """Bytes written and not yet taken by the kernel."""

    @property
    def congested(self) -> bool:
        """True while more than `high_water_bytes` are unsent: the host reads no more from it.

        What is unsent is found out by sending: after the handler, or earlier once it has written
        more than that in several pieces.
        """

    def fileno(self) -> int:
        """Return the socket's descriptor, which stays the connection's; -1 once it has ended."""

    def read(self) -> bytes:
        """Return what has arrived, up to `read_size_bytes`.

        `b""` means that the peer has finished sending (`eof` is true from then on) or, on a
        second call for one `on_readable`, that there is nothing more yet.
        """

    def read_into(self, buffer: bytearray | memoryview) -> int:
        """Read what has arrived into `buffer`, as much as it has room for; return how many bytes.

        0 means what `b""` means of `read()`. A plugin calls one of the two for a connection.

        Raises:
            ValueError: the buffer has no room.
        """

    def write(self, *pieces: bytes | bytearray | memoryview) -> None:
        """Queue `pieces`; the host sends all that was queued once the handler has returned.

        A mutable buffer is copied. If more than `max_unsent_bytes` wait for a peer that does
        not read, the connection is reset with the reason `UNSENT_LIMIT`. A single piece may be
        larger than that if nothing waits before it.

        Raises:
            TypeError: a piece is not bytes; a text has to be encoded.
        """

    def send_file(self, file: int | HasFileno, offset: int = 0, count: int | None = None) -> None:
        """Send a part of a file behind what was written, without reading it into memory.

        What is unsent of it counts for `unsent` and `congested`, but not for `max_unsent_bytes`.
        The host has a descriptor of its own, so the caller may close the file at once. If the file
        is made shorter before all is sent, the connection is reset, as one of a plugin that failed.
        (sendfile(2). It waits for the disk where the file is not in memory.)

        Args:
            file: an open regular file, or its descriptor.
            offset: where the part begins, in bytes.
            count: how many bytes it has; None: up to the end of the file.

        Raises:
            ValueError: it is no regular file, or has no such part.
            OSError: the descriptor is closed, or there is no other left.
        """

    def flush(self) -> None:
        """Send now as much of what is queued as the kernel takes."""

    def follow_congestion(self, function: Callable[[bool], object] | None) -> None:
        """Call `function` whenever `congested` has changed, with its value; None: no more.

        For a plugin that stops writing then: its connection is not reset for a piece of any size
        as long as no more than `max_unsent_bytes` wait before it. It is called as soon as the host
        finds out, also within `write`, so it only takes note. Call this with None in `on_close`.
        """

    @property
    def water_marks(self) -> tuple[int, int]:
        """The settings `low_water_bytes` and `high_water_bytes`."""

    def call_when_writable(self, function: Callable[[Connection], object]) -> None:
        """Call `function` with this connection once no more than `low_water_bytes` are unsent.

        That is at the end of the turn at the earliest. A plugin that makes much of little input
        stops at `congested` and goes on here. An exception counts as one of `on_readable`.
        """

    def call_next_turn(self, function: Callable[[Connection], object]) -> None:
        """Call `function` with this connection in the next turn of the loop.

        A plugin that has more to do for one connection than about a millisecond stops in between
        and goes on here, so that the other connections get their turn. Where many connections go on
        like this they have 1 ms of each turn together, one after the other. Nothing more is read
        from this one until then. The call is gone with the connection. An exception counts as one
        of `on_readable`.
        """

    def call_later(self, seconds: float, function: Callable[[Connection], object]) -> Timer:
        """Call `function` with this connection, once, after `seconds`.

        The call is gone with the connection, as soon as it is closing. An exception counts as one
        of `on_readable`.
        """

    def expire(self, seconds: float | None) -> None:
        """Close this connection with the reason `TIMEOUT` after `seconds`; None: do not.

        Each call replaces what the last one has said. It may be called for each message: a new
        time costs next to nothing. Seconds count from the beginning of the present turn.

        Raises:
            ValueError: `seconds` is not a number (NaN).
        """

    def begin_answer(self) -> None:
        """Say that an answer will be written later: by a timer, a thread or the bus.

        The host closes a connection whose peer has finished sending, unless answers are still to
        come, for which it waits `answer_timeout_seconds`. Each call goes with one of
        `end_answer()`.
        """

    def end_answer(self) -> None:
        """Say that an answer was written, or will not be."""

    def pause_reading(self) -> None:
        """Leave what arrives in the kernel until `resume_reading()`; the peer is held back."""

    def resume_reading(self) -> None:
        """Take up reading again after `pause_reading()`."""

    def start_tls(self, name: str, unread: bytes = b"") -> None:
        """Go on with TLS: for protocols in which a client asks for it in plain text (STARTTLS).

        What is queued is sent first, in plain text. Then nothing is read until the handshake is
        done, within `limits.admission_seconds`; `on_tls` tells of it, and `origin.tls` has what was
        agreed on. What is written meanwhile waits, and is sent encrypted. If the handshake fails
        the connection ends with the reason `TLS_FAILED`, or `TRUNCATED` if the peer has gone.

        Nothing that has come in plain text may count afterwards: somebody on the way could have put
        it there, for it to be taken for the client's (CVE-2011-0411). So what follows the request
        in plain text ends the connection, too.

        Args:
            name: NAME of the table [tls.NAME] of the settings that has the certificates.
            unread: what was read behind the request already. A client that does not wait for the
                answer has sent the beginning of its handshake.

        Raises:
            ValueError: there is no such table.
            RuntimeError: it has TLS already, or was called before.
        """

    def close(self) -> None:
        """Send what is queued, then close. `on_close` follows, once."""

    def abort(self) -> None:
        """Reset the connection: what is queued or on its way is lost, and the peer sees an error.

        For an answer that cannot be finished: after `close()` it would look complete. `on_close`
        follows, once, with the reason `PLUGIN`. (RFC 9293, 3.10.5. A Unix socket has no reset:
        its peer sees an end.)
        """
