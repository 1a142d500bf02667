"""A connection of HTTP/1.1: one request at a time is read and answered."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from host.ops.http import Request, RequestError, RequestReader, Response, head

_KERNEL_BYTES_OF_STREAMS = 131_072
"""So much of a stream the kernel keeps, or twice that (socket(7)): it would be megabytes, and who
reads nothing would not be seen for long."""


class Patience(NamedTuple):
    """How long clients are waited for, in seconds.

    Attributes:
        head: for the head of a request, from its first byte, or from the start of the connection.
        idle: for another request: longer than Prometheus scrapes apart.
        write: for a client to take what is written to it.
        end: for the end of one that has sent more than is answered: closed before that, it might
            lose its answer (RFC 9112, 9.6).
    """

    head: float = 5.0
    idle: float = 75.0
    write: float = 10.0
    end: float = 1.0


PATIENCE = Patience()


class Service(NamedTuple):
    """What connections need of their server.

    Attributes:
        answer: answers a request; it raises nothing.
        headers: the lines of the headers that each answer has, each with its end.
        patience: how long clients are waited for.
        buffer: what all read into, one after the other.
        remembered: heads of requests that have come before.
        on_error: told of an exception that ends an answer in pieces.
        on_lost: told of each connection that has ended.
    """

    answer: Callable[[Connection, Request], Awaitable[Response]]
    headers: str
    patience: Patience
    buffer: bytearray
    remembered: dict[bytes, Request]
    on_error: Callable[[Exception], object]
    on_lost: Callable[[Connection], object]


class Connection(asyncio.BufferedProtocol):
    """A client: what it asks, and how far its answer is.

    Args:
        service: the server's part.

    Attributes:
        waits_since: since when it is waited for a request, or for its end; None while there is a
            request.
        writes_since: since when it is waited that it takes what is written; None if it is not.
        deadline: when it is to be closed if nothing happens before; None if an answer is made.
        is_streaming: whether its answer comes in pieces.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._reader = service, RequestReader(service.remembered)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._taken: asyncio.Future[None] | None = None
        self._has_asked = self._sends_more = self._has_ended = False
        self._is_last = self._is_closed = False
        self.waits_since: float | None = self._loop.time()
        self.writes_since: float | None = None
        self.deadline: float | None = self.waits_since + service.patience.head
        self.is_streaming = False

    def begin_stream(self) -> None:
        """Have the kernel keep little from now on of what it does not take."""
        self.is_streaming = self._is_last = True
        sock = self._open().get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES_OF_STREAMS)

    def finish(self) -> None:
        """Close it once it has been asked for something and that is answered."""
        self._is_last = True
        self._end_stream()
        if self.waits_since is not None and self._has_asked:
            self._open().close()

    def close(self) -> None:
        """Close it at once."""
        self._is_closed = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=0)  # so that it is known whether all is taken
        if self._is_closed:
            transport.abort()

    def connection_lost(self, _error: Exception | None) -> None:
        """End what is done for it."""
        if self._task is not None:
            self._task.cancel()
        self._service.on_lost(self)

    def get_buffer(self, _size: int) -> bytearray:
        """Return what is read into: asyncio's own buffers are so large that each is a mapping."""
        return self._service.buffer

    def buffer_updated(self, count: int) -> None:
        """Answer what the client asks; one that sends more meanwhile has that answer alone."""
        if self.waits_since is None:
            self._sends_more = True
            self._open().pause_reading()
            self._end_stream()
        elif not self._sends_more:
            self._receive(bytes(self._service.buffer[:count]))

    def eof_received(self) -> bool:
        """Tell whether something is still to be answered."""
        self._has_ended = True
        if self.waits_since is not None:
            return not self._sends_more and self._receive(b"")
        self._end_stream()
        return True

    def pause_writing(self) -> None:
        """Begin to wait that the client takes what is written."""
        self.writes_since = self._loop.time()
        self.deadline = self.writes_since + self._service.patience.write

    def resume_writing(self) -> None:
        """Go on: the client has taken all."""
        self.writes_since = self.deadline = None
        if self._task is None:
            self._end_answer()
        elif self._taken is not None and not self._taken.done():
            self._taken.set_result(None)

    @property
    def _closes(self) -> bool:
        """Whether the answer that is under way is the last one."""
        return self._is_last or self._sends_more or self._has_ended

    def _open(self) -> asyncio.Transport:
        assert self._transport is not None
        return self._transport

    def _end_stream(self) -> None:
        """End an answer in pieces, if there is one, whatever the next piece waits for."""
        if self.is_streaming and self._task is not None:
            self._task.cancel()

    def _receive(self, data: bytes) -> bool:
        """Read what the client has sent; tell whether that is to be answered."""
        try:
            request = self._reader.receive(data)
        except RequestError as error:
            self._begin_answer()
            self._sends_more = True
            self._write(error.response)
            self._end_answer()
            return True
        if request is None:
            until = self._loop.time() + self._service.patience.head
            self.deadline = until if self.deadline is None else min(self.deadline, until)
            return False
        self._begin_answer()
        self._task = self._loop.create_task(self._answer(request))
        return True

    def _begin_answer(self) -> None:
        self.waits_since = self.deadline = None
        self._has_asked = True

    async def _answer(self, request: Request) -> None:
        response = await self._service.answer(self, request)
        if isinstance(response.body, bytes):
            self._write(response)
        else:
            await self._write_pieces(response, response.body)
        self._task = None
        self._end_answer()

    def _write(self, response: Response) -> None:
        """Write the head of an answer, and the body if it is there as a whole."""
        self._is_last = self._closes or not self._reader.keeps_alive
        data = head(response, self._service.headers, keeps_alive=not self._is_last)
        if self._reader.wants_body and isinstance(response.body, bytes):
            data += response.body
        self._open().write(data)

    async def _write_pieces(self, response: Response, pieces: AsyncGenerator[bytes]) -> None:
        """Write pieces as they come, until there are none, the client goes or the server ends.

        The end of the connection is that of the answer (RFC 9112, 6.3): so the death of this
        process is no fault for who reads, but an end after which to ask again.
        """
        try:
            self._write(response)
            if self._reader.wants_body:
                async for piece in pieces:
                    self._open().write(piece)
                    if self.writes_since is not None:
                        self._taken = self._loop.create_future()
                        await self._taken
        except asyncio.CancelledError:
            pass  # it is `_end_stream`, or the client is gone
        except Exception as error:
            self._service.on_error(error)
        finally:
            await pieces.aclose()

    def _end_answer(self) -> None:
        """Wait for another request, or for the end, once the client has taken its answer."""
        transport, patience = self._open(), self._service.patience
        if self.writes_since is not None or transport.is_closing():
            return
        if not self._closes:
            self.waits_since = self._loop.time()
            self.deadline = self.waits_since + patience.idle
        elif self._sends_more and not self._has_ended:
            self.waits_since, self.deadline = 0.0, self._loop.time() + patience.end
            with suppress(OSError):  # who is gone has reset it, as it got the answer
                transport.write_eof()
            transport.resume_reading()
        else:
            transport.close()
