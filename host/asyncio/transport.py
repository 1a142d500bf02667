"""The transport of a connection of the host, as asyncio's protocols know transports."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import ssl
from asyncio import trsock
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import Context
from typing import Any

from host.interfaces import CloseReason, Connection

Bytes = bytes | bytearray | memoryview

_NO_ERROR = frozenset({CloseReason.PLUGIN, CloseReason.PEER_FINISHED})
_TIME_OUTS = frozenset({CloseReason.IDLE, CloseReason.TIMEOUT, CloseReason.WRITE_TIMEOUT})


class HostTransport(asyncio.transports._FlowControlMixin, asyncio.Transport):
    """A connection of the host, with which an asyncio protocol reads and writes.

    Everything is the connection's: what is written is sent at the end of the handler or turn, what
    the peer does not take counts for its limits, and it ends with one of the host's reasons.

    Args:
        connection: the connection.
        loop: the event loop.
        context: what the protocol's methods are called in.

    Attributes:
        context, run: what the protocol's methods are called in, and what calls them in it.
        data_received: that method of the protocol; None if it has buffers of its own.
        write: `Connection.write` itself.
    """

    _sendfile_compatible = asyncio.constants._SendfileMode.TRY_NATIVE  # type: ignore[attr-defined]
    _start_tls_compatible = True
    _loop: asyncio.AbstractEventLoop
    _protocol_paused: bool
    data_received: Callable[[bytes], object] | None

    def __init__(
        self, connection: Connection, loop: asyncio.AbstractEventLoop, context: Context
    ) -> None:
        super().__init__(None, loop)
        self._connection, self.context = connection, context
        self.run = context.run
        self._protocol: Any = None
        self._socket: trsock.TransportSocket | None = None
        self._reads = True
        self._has_written_eof = False
        self._when_sent: list[asyncio.Future[None]] = []
        self.write = connection.write  # type: ignore[assignment, method-assign]

    def __repr__(self) -> str:
        return f"<HostTransport of {self._connection!r}>"

    def begin(self, protocol: asyncio.BaseProtocol) -> None:
        """Connect with a protocol."""
        self.set_protocol(protocol)
        self._connection.follow_congestion(self._congested)
        self.run(protocol.connection_made, self)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have another protocol read from now on."""
        self._protocol = protocol
        self.data_received = None
        if not isinstance(protocol, asyncio.BufferedProtocol):
            self.data_received = protocol.data_received  # type: ignore[attr-defined]

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return self._protocol  # type: ignore[no-any-return]

    def spoken(self) -> tuple[Any, Any]:
        """Return the protocol that the peer speaks, without TLS of asyncio's, and its transport."""
        protocol = self._protocol
        if isinstance(protocol, asyncio.base_events._SendfileFallbackProtocol):  # type: ignore[attr-defined]
            protocol = protocol._proto
        if isinstance(protocol, asyncio.sslproto.SSLProtocol):  # type: ignore[attr-defined]
            return protocol._app_protocol, protocol._get_app_transport()
        return protocol, self

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection.

        `peername` is the client, also behind a proxy that names it. `socket` is made of a duplicate
        of the descriptor when it is first asked for. `connection` is the host's connection. With
        the host's TLS there are `ssl_object`, `sslcontext`, `peercert`, `cipher`, `compression`.
        """
        match name:
            case "peername":
                return self._peer_name()
            case "sockname":
                return self._get_socket().getsockname()
            case "socket":
                return self._get_socket()
            case "connection":
                return self._connection
            case "listener":
                return self._connection.listener
        of_tls = _OF_TLS.get(name)
        tls = self._connection.tls_object if of_tls is not None else None
        return default if of_tls is None or tls is None else of_tls(tls)

    def is_reading(self) -> bool:
        """Tell whether what arrives goes to the protocol."""
        return self._reads and not self._connection.closed

    def pause_reading(self) -> None:
        """Leave what arrives in the kernel."""
        if self._reads:
            self._reads = False
            self._connection.pause_reading()

    def resume_reading(self) -> None:
        """Take up reading again."""
        if not self._reads:
            self._reads = True
            self._connection.resume_reading()

    def writelines(self, list_of_data: Iterable[Bytes]) -> None:
        """Write pieces."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Tell whether one's own half can be closed: not with TLS, as in asyncio."""
        return self._connection.tls_object is None

    def write_eof(self) -> None:
        """Close one's own half when all is sent (shutdown(2)); the peer may go on sending.

        Raises:
            NotImplementedError: the connection has TLS, where it would look cut off.
        """
        if not self.can_write_eof():
            raise NotImplementedError("a connection with TLS has no write_eof()")
        if not self._has_written_eof:
            self._has_written_eof = True
            self.write = self._refuse  # type: ignore[assignment, method-assign]
            self.all_sent().add_done_callback(self._shut_down)

    def all_sent(self) -> asyncio.Future[None]:
        """Return a future that is done when the kernel has taken all that was written.

        It has an error if the connection ends before.
        """
        self._when_sent.append(future := self._loop.create_future())
        self._connection.flush()
        if self._connection.closed:
            self._end_waiting(ConnectionError("Connection closed by peer"))
        else:
            self._look_whether_sent(self._connection)
        return future

    async def send_file(self, file: Any, offset: int, count: int | None) -> int:
        """Send a part of a file after what was written; return how many bytes it had.

        Args:
            file: an open file; its position is behind the part afterwards.
            offset: where the part begins, in bytes.
            count: how many bytes it has at most; None: up to the end of the file.

        Raises:
            SendfileNotAvailableError: it is no regular file.
            OSError: the connection has ended before all was sent.
        """
        try:
            size = os.fstat(file.fileno()).st_size
            rest = max(0, size - offset)
            count = rest if count is None else min(count, rest)
            self._connection.send_file(file, offset if count else 0, count)
        except (AttributeError, ValueError, io.UnsupportedOperation) as error:
            raise asyncio.SendfileNotAvailableError("not a regular file") from error
        await self.all_sent()
        file.seek(offset + count)
        return count

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are not sent yet."""
        return self._connection.unsent

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the host's marks: `low_water_bytes` and `high_water_bytes`."""
        return self._connection.water_marks

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Check the limits as asyncio does, and leave the marks of the host alone.

        Raises:
            ValueError: the one is above the other, or below 0.
        """
        if high is None:
            high = 4 * low if low is not None else 64 * 1024
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")

    def is_closing(self) -> bool:
        """Tell whether nothing more can be written."""
        return self._connection.closed

    def close(self) -> None:
        """Send what is queued, then close."""
        self._connection.close()

    def abort(self) -> None:
        """Close at once; what is queued is lost, and the peer sees a reset."""
        self._connection.abort()

    def end(self, reason: CloseReason) -> None:
        """Tell the protocol that the connection has ended."""
        self._connection.follow_congestion(None)
        self._end_waiting(ConnectionError("Connection closed by peer"))
        self.write = _drop  # type: ignore[assignment, method-assign]
        try:
            if self._protocol is not None:
                self.run(self._protocol.connection_lost, _error_of(reason))
        finally:
            # A protocol keeps its transport: without a circle both are freed at once.
            self._protocol = self.data_received = None
            if self._socket is not None:
                self._socket._sock.close()  # type: ignore[attr-defined]

    def receive_into(self, connection: Connection) -> None:
        """Read what has arrived into the protocol's buffer."""
        buffer = self.run(self._protocol.get_buffer, -1)
        size = connection.read_into(buffer)
        if size:
            self.run(self._protocol.buffer_updated, size)
        elif connection.eof:
            self.receive_eof(connection)

    def receive_eof(self, connection: Connection) -> None:
        """Tell the protocol that the peer has finished sending; it may keep the connection."""
        if self.run(self._protocol.eof_received):
            connection.allow_half_open = True

    def _congested(self, congested: bool) -> None:
        """Tell the protocol that it writes faster than the peer takes, or does no more.

        It may just be writing, and one cannot enter a context twice: so not in the context itself.
        """
        self._protocol_paused = congested
        protocol = self._protocol
        function = protocol.pause_writing if congested else protocol.resume_writing
        try:
            self.context.copy().run(function)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._loop.call_exception_handler(
                {
                    "message": f"protocol.{function.__name__}() failed",
                    "exception": error,
                    "transport": self,
                    "protocol": protocol,
                }
            )

    def _look_whether_sent(self, connection: Connection) -> None:
        """End the waiting if nothing is unsent any more; else look again later."""
        if connection.unsent:
            connection.call_when_writable(self._look_whether_sent)
        else:
            self._end_waiting()

    def _end_waiting(self, error: Exception | None = None) -> None:
        """Tell those who wait until all is sent that it is, or that it never will be."""
        waiting, self._when_sent = self._when_sent, []
        for future in waiting:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)
                future.exception()  # who does not wait any more need not hear of it

    def _shut_down(self, sent: asyncio.Future[None]) -> None:
        """Close one's own half."""
        if self._connection.closed or sent.exception() is not None:
            return
        duplicate = socket.socket(fileno=os.dup(self._connection.fileno()))
        with duplicate, suppress(OSError):  # the peer is gone: the next read finds out
            duplicate.shutdown(socket.SHUT_WR)

    def _refuse(self, *_pieces: Bytes) -> None:
        raise RuntimeError("Cannot call write() after write_eof()")

    def _force_close(self, _error: BaseException | None) -> None:
        """End at once, as asyncio's TLS asks for (`SSLProtocol`)."""
        self._connection.abort()

    def _peer_name(self) -> Any:
        origin = self._connection.origin
        if origin.host is None:
            return ""
        if ":" in origin.host:
            return (origin.host, origin.port, 0, origin.scope or 0)
        return (origin.host, origin.port)

    def _get_socket(self) -> trsock.TransportSocket:
        if self._socket is None:
            self._socket = trsock.TransportSocket(
                socket.socket(fileno=os.dup(self._connection.fileno()))
            )
        return self._socket


_OF_TLS: Mapping[str, Callable[[ssl.SSLObject], Any]] = {
    "ssl_object": lambda tls: tls,
    "sslcontext": lambda tls: tls.context,
    "peercert": lambda tls: tls.getpeercert(),
    "cipher": lambda tls: tls.cipher(),
    "compression": lambda tls: tls.compression(),
}
"""What asyncio knows of a connection with TLS, by name (asyncio.BaseTransport.get_extra_info)."""


def _drop(*_pieces: Bytes) -> None:
    """Write nothing: the connection has ended."""


def _error_of(reason: CloseReason) -> Exception | None:
    """Return what `connection_lost` is called with."""
    if reason in _NO_ERROR:
        return None
    if reason is CloseReason.RESET:
        return ConnectionResetError(reason.value)
    if reason in _TIME_OUTS:
        return TimeoutError(reason.value)
    return ConnectionAbortedError(reason.value)
