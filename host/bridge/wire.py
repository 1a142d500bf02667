"""What carries the bytes of a connection to a broker: a plain socket in the host's loop."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Protocol

from host.runtime.loop import READ, WRITE, Loop

_NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
_READ_BYTES = 65_536
_FEW_BYTES = 64
"""Fewer than a message has as it comes, and as much as a dozen answers that say "done"."""


class Wire(Protocol):
    """What a connection needs of it; a transport of asyncio has it, too, and speaks TLS."""

    def is_closing(self) -> bool:
        """Tell whether it has ended, or is about to."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""

    def write(self, data: bytes) -> None:
        """Send something, as soon as there is room."""

    def pause_reading(self) -> None:
        """Read nothing more."""

    def resume_reading(self) -> None:
        """Go on to read."""

    def abort(self) -> None:
        """End it at once."""


class Reader(Protocol):
    """What takes in what a wire reads."""

    def take(self, data: bytes) -> None:
        """Take in what has come."""

    def connection_lost(self, error: Exception | None) -> None:
        """End: of an error, or since the other end has."""


class PlainWire:
    """A socket that is read and written in the host's loop itself.

    A transport of asyncio needs a turn of asyncio's own loop for each read. Where messages come one
    by one, that is half of what reading one costs.

    Args:
        sock: a connected stream socket; this closes it.
        loop: the host's loop, in which asyncio's loop takes its turns.
        reader: what takes in what is read.
    """

    def __init__(self, sock: socket.socket, loop: Loop, reader: Reader) -> None:
        self._sock, self._loop, self._reader = sock, loop, reader
        self._unsent = bytearray()
        self._is_closing = self._is_paused = False
        sock.setblocking(False)
        self._is_tcp, self._is_patient = sock.family != socket.AF_UNIX, False
        if self._is_tcp:
            sock.setsockopt(*_NO_DELAY)
        loop.add(sock.fileno(), READ, self._on_event)

    def is_closing(self) -> bool:
        """Tell whether it has ended."""
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait to be sent."""
        return len(self._unsent)

    def write(self, data: bytes) -> None:
        """Send what there is room for; the rest follows."""
        if self._is_closing:
            return
        if self._unsent:
            self._unsent += data
            return
        sent = self._send(data)
        if sent < len(data) and not self._is_closing:
            self._unsent += data[sent:]
            self._watch()

    def be_patient(self, *, patient: bool) -> None:
        """Leave a few bytes unread until more come (SO_RCVLOWAT, socket(7)), or take each at once.

        A process that sleeps until something comes takes longer to wake up than to read it.
        """
        if self._is_tcp and patient is not self._is_patient and not self._is_closing:
            self._is_patient = patient
            least = _FEW_BYTES if patient else 1
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)

    def pause_reading(self) -> None:
        """Read nothing more."""
        self._is_paused = True
        self._watch()

    def resume_reading(self) -> None:
        """Go on to read."""
        self._is_paused = False
        self._watch()

    def abort(self) -> None:
        """End it at once: the reader hears of it a moment later."""
        self._end(None)

    def _on_event(self, mask: int) -> None:
        if mask & WRITE and self._unsent:
            del self._unsent[: self._send(bytes(self._unsent))]
            if not self._unsent and not self._is_closing:
                self._watch()
        if mask & ~WRITE and not self._is_closing:
            self._read()

    def _read(self) -> None:
        """Read once: also what a paused one has before its end, which cannot wait for longer."""
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)
            return
        if not data:
            self._end(None)
            return
        try:
            self._reader.take(data)
        except Exception as error:  # a bug ends the connection, as with asyncio's transports
            what = {"message": "what was read could not be taken in", "exception": error}
            asyncio.get_running_loop().call_exception_handler(what)
            self._end(None)

    def _send(self, data: bytes) -> int:
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._end(error)
            return 0

    def _watch(self) -> None:
        if not self._is_closing:
            reading, writing = 0 if self._is_paused else READ, WRITE if self._unsent else 0
            self._loop.modify(self._sock.fileno(), reading | writing)

    def _end(self, error: OSError | None) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._unsent.clear()
            self._loop.remove(self._sock.fileno())
            self._sock.close()
            asyncio.get_running_loop().call_soon(self._reader.connection_lost, error)


async def open_socket(host: str, port: int, path: str) -> socket.socket:
    """Connect to a server.

    Args:
        host: its host.
        port: its port.
        path: the path of its Unix socket; "" for none.

    Returns:
        A socket, which does not block; the caller closes it.

    Raises:
        OSError: it is not there.
    """
    if path:
        return await _connected(socket.AF_UNIX, path)
    kind = socket.SOCK_STREAM
    try:
        found = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:  # a name: asking for it may take long
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)
    *others, (family, *_, last) = found
    for each, *_, place in others:
        try:
            return await _connected(each, place)
        except OSError:  # what is told is why the last one cannot be had
            continue
    return await _connected(family, last)


async def _connected(family: int, place: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, place)
    except BaseException:
        sock.close()
        raise
    return sock
