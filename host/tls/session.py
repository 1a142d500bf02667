"""One TLS session: what descriptors are read and written by, with records in between.

OpenSSL reads from one buffer in memory and writes to another (ssl.MemoryBIO), so a write never has
to wait for something to read, and a session can be used by a thread that does not have the socket.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from sys import intern
from typing import NamedTuple

from host.interfaces import TlsInfo
from host.tls.records import RecordBoundaries

Buffers = Sequence[bytes | bytearray | memoryview]

_READ_BYTES = 20_480
"""A whole record and more (RFC 8446, 5.2)."""
_HEADER = 5
"""How long the header of a record is; its last two bytes say how long the rest is."""
_FEW_BYTES = 1024
"""Hardly more than `_MOST_RECORDS` are in it, so nobody has to look."""
_MOST_RECORDS = 32
"""How many records OpenSSL is given at once, and how many may come in a row without data."""
_SLICE = 65_536
"""How much is encrypted at once. What the kernel does not take of it has to be kept."""
_AT_ONCE = 4 * _SLICE
"""How much is sent at most before others have their turn."""
_MAX_LEFT = 4 * _SLICE
"""More records than this, which nobody has written, wait only for a peer that asks for them and
does not read: with KeyUpdate (RFC 8446, 4.6.3), say."""


class TruncatedError(ConnectionResetError):
    """The peer has ended without close_notify: what it sent may have been cut by somebody else."""


class TlsFailedError(ConnectionResetError):
    """The peer does not keep to the protocol."""


class _Cipher(NamedTuple):
    """Decrypts and encrypts."""

    read: Callable[[int], bytes]
    write: Callable[[bytes | memoryview], int]


class NamedObject(ssl.SSLObject):
    """An SSL object that knows the host name that its client has asked for.

    Attributes:
        server_name: that name, or None.
    """

    server_name: str | None = None


class Session:
    """A TLS session of a server over one non-blocking descriptor, which it does not own.

    `read` and `write` do what read(2) and write(2) do for a plain socket. What is written counts as
    sent once the kernel has taken the records that it is in, so the caller gives what was not sent
    again, first of all: of that, `_ahead` bytes are in records already.

    A peer may send records that have no data. Each KeyUpdate (RFC 8446, 4.6.3) costs six times what
    a short message does, and OpenSSL goes on with them until it has data. So it is given few
    records at once, and a peer that sends nothing else is ended, as by BoringSSL and rustls.

    Args:
        context: the context of the server.

    Attributes:
        more: whether bytes may wait inside, so that nothing is to be read from the descriptor and
            nothing is to be waited for. It may turn out that they are a part of a record.
        silent: whether the peer is not told of the end, or was already.
    """

    __slots__ = (
        "_ahead",
        "_barren",
        "_boundaries",
        "_certificate",
        "_failure",
        "_held",
        "_incoming",
        "_is_plain",
        "_left",
        "_object",
        "_outgoing",
        "_tls",
        "_version",
        "more",
        "silent",
    )

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        # What it has inside does all the work: a call in Python less for each message.
        self._tls: _Cipher = vars(self._object).get("_sslobj", self._object)
        self._is_plain = False  # nothing is inside, and nothing has to be counted
        self._left = b""  # records that the kernel has not taken
        self._ahead = 0
        self._failure = self._version = ""
        self._certificate: bytes | None = None
        self._boundaries = RecordBoundaries()
        self._held = b""  # records that OpenSSL is given later
        self._barren = 0  # records that it was given since there was data
        self.more = self.silent = False

    def feed(self, data: bytes) -> None:
        """Take records that were read from the descriptor."""
        self._incoming.write(data)

    def step(self) -> bool:
        """Go on with the handshake; return whether it is done.

        Raises:
            ssl.SSLError: it has failed. What there is to be sent tells the peer why.
        """
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        records = self._incoming.read()  # those after the handshake, from the start of one on
        if records:
            self._take(records)
        self.more = bool(records)
        self._is_plain = not records
        # After an error OpenSSL does not tell these any more.
        self._version = intern(self._object.version() or "")
        self._certificate = self._object.getpeercert(binary_form=True)
        return True

    def read(self, fd: int, room: int) -> bytes:
        """Return up to `room` decrypted bytes; b"" if the peer has said that it has finished.

        Raises:
            BlockingIOError: there are none now.
            TruncatedError: the peer has ended without saying so.
            TlsFailedError: what it sends is not TLS, or is all TLS and no data.
            OSError: from read(2).
        """
        if not self._is_plain:
            return self._read_any(fd, room)
        records = os.read(fd, _READ_BYTES)
        size = len(records)
        if size < _HEADER or records[3] * 256 + records[4] + _HEADER != size:
            return self._read_any(fd, room, records)
        # It is one record, and whole: if it has data, there is nothing else to be done.
        self._incoming.write(records)
        try:
            data = self._tls.read(room)
        except ssl.SSLError as error:
            raise self._explained(fd, error, records) from None
        if len(data) == room:
            self.more, self._is_plain = True, False
        return data

    def _read_any(self, fd: int, room: int, records: bytes | None = None) -> bytes:
        """Read whatever comes, or go on with `records` that were read; raise as `read` does."""
        records = b"" if self.more else self._receive(fd, records)
        try:
            data = self._tls.read(room)
        except ssl.SSLError as error:
            raise self._explained(fd, error, records) from None
        self._barren = 0
        waiting = self._incoming.pending
        if waiting:
            if records:  # not followed yet: those that are left may have no data
                self._boundaries.follow(records[:-waiting], len(records))
                self._barren = self._boundaries.follow(records[-waiting:], waiting)[1]
        elif self._held:
            self._take(self._held)
            waiting = 1
        self.more = len(data) == room or waiting > 0
        self._is_plain = not (self.more or self._barren or self._boundaries.inside)
        if self._outgoing.pending:
            self._answer(fd)
        return data

    def _receive(self, fd: int, records: bytes | None) -> bytes:
        """Give OpenSSL what comes; return what of that is not followed yet."""
        if self._failure:
            raise TlsFailedError(self._failure)
        if records is None:
            records = os.read(fd, _READ_BYTES)
        if not records:
            raise TruncatedError("ended without close_notify")
        if len(records) > _FEW_BYTES or self._boundaries.inside:
            return self._take(records)
        self._incoming.write(records)
        return records

    def read_into(self, fd: int, buffers: Sequence[bytearray | memoryview]) -> int:
        """Read into the first buffer; return how many bytes, or raise as `read` does."""
        (buffer,) = buffers
        data = self.read(fd, memoryview(buffer).nbytes)
        memoryview(buffer).cast("B")[: len(data)] = data
        return len(data)

    def has_spoken(self, fd: int) -> bool | None:
        """Tell whether the peer has said something, which is still to be read after that.

        Returns:
            None if it has not yet, and False if it has ended without a word.
        """
        try:
            data = self.read(fd, _READ_BYTES)
        except BlockingIOError:
            return None
        except TlsFailedError:  # the next read finds it again
            return True
        except OSError:
            return False
        if data:
            self._give_back(data)
        return bool(data)

    def _give_back(self, data: bytes) -> None:
        """Have `read` find these bytes before all others; it pays nothing for that otherwise."""
        tls, left = self._tls, data

        def read_given(room: int) -> bytes:
            nonlocal left
            given, left = left[:room], left[room:]
            if not left:
                self._tls = tls
            return given

        self._tls = _Cipher(read_given, tls.write)
        self.more, self._is_plain = True, False

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Send as much of `data` as the kernel takes; return how many bytes of it.

        Raises:
            BlockingIOError: it takes nothing now.
            OSError: from write(2), or the session has failed.
        """
        size = len(data)
        if size > _SLICE or self._left or self._ahead:
            return self.write_pieces(fd, (data,))
        try:  # as `_encrypt` does, without a call
            self._tls.write(data)
        except ssl.SSLError as error:
            raise TlsFailedError(error.reason or str(error)) from None
        records = self._outgoing.read()
        try:
            written = os.write(fd, records)
        except BlockingIOError:
            written = 0
        if written != len(records):
            self._left, self._ahead = records[written:], size
            raise BlockingIOError
        return size

    def write_pieces(self, fd: int, pieces: Buffers) -> int:
        """Send as much of `pieces`, in their order, as the kernel takes; as `write` does."""
        self._send_left(fd)
        sent, self._ahead = self._ahead, 0
        data = _joined(pieces)
        end = min(len(data), _AT_ONCE)
        while sent < end:
            part = data[sent : sent + _SLICE]
            self._encrypt(part)
            with suppress(BlockingIOError):
                self._send(fd)
            if self._left:
                self._ahead = len(part)
                break
            sent += len(part)
        if not sent and self._ahead:
            raise BlockingIOError
        return sent

    def send_file(self, fd: int, file: int, offset: int, count: int) -> int:
        """Send from a file as sendfile(2) does; raise as `write` does, or what pread(2) raises."""
        data = os.pread(file, min(count, _SLICE), offset)
        return self.write(fd, data) if data else 0

    def flush(self, fd: int) -> bool:
        """Send records that are there already; return whether the kernel has taken them all.

        Raises:
            OSError: from write(2).
        """
        try:
            self._send_left(fd)
            self._send(fd)
        except BlockingIOError:
            return False
        return not self._left

    def finish(self, fd: int) -> bool:
        """Say that nothing more will be sent (close_notify; RFC 8446, 6.1), once.

        Returns:
            Whether nothing is left for `flush` to send: the kernel has taken it, nothing can be
            sent any more, or it was said before.
        """
        if self.silent or self._ahead:  # a part of what was written must not look complete
            return True
        self.silent = True
        with suppress(ssl.SSLError, ValueError):
            self._object.unwrap()  # the peer need not have finished; or no session was agreed on
        try:
            return self.flush(fd)
        except OSError:
            return True

    @property
    def object(self) -> ssl.SSLObject:
        """What the module `ssl` knows of the session, to ask it."""
        return self._object

    @property
    def alpn(self) -> str | None:
        """The protocol that was agreed on (RFC 7301), or None."""
        return self._object.selected_alpn_protocol()

    def info(self) -> TlsInfo:
        """Return what was agreed on in the handshake."""
        tls = self._object
        cipher = tls.cipher()
        return TlsInfo(
            version=self._version,
            cipher=cipher[0] if cipher else "",
            alpn=tls.selected_alpn_protocol(),
            server_name=tls.server_name if isinstance(tls, NamedObject) else None,
            resumed=bool(tls.session_reused),
            peer_certificate=self._certificate,
        )

    def _explained(self, fd: int, error: ssl.SSLError, records: bytes) -> OSError:
        """Return what a failed read comes to, and send what is to be sent because of it.

        Args:
            fd: the descriptor.
            error: the error.
            records: what was read for it and not followed yet.
        """
        self.more = self._is_plain = False
        if isinstance(error, ssl.SSLWantReadError):
            self._barren += self._boundaries.follow(records, len(records))[1]
            if self._barren - self._boundaries.inside > _MOST_RECORDS:
                self._failure = "the peer sends records without data"
                return TlsFailedError(self._failure)
            if self._held:
                self._take(self._held)
                self.more = True
            if self._outgoing.pending:
                self._answer(fd)
            return BlockingIOError()
        self._failure = error.reason or str(error)
        with suppress(OSError):
            self._send(fd)  # an alert
        return TlsFailedError(self._failure)

    def _take(self, records: bytes) -> bytes:
        """Give OpenSSL as many records as it may have at once; nothing is left to be followed."""
        size, count = self._boundaries.follow(records, _MOST_RECORDS)
        self._barren += count
        self._held = records[size:]
        self._incoming.write(records[:size] if self._held else records)
        return b""

    def _encrypt(self, data: bytes | memoryview) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise TlsFailedError(error.reason or str(error)) from None

    def _answer(self, fd: int) -> None:
        """Send records that the protocol itself asks for."""
        if not self.flush(fd) and len(self._left) > _MAX_LEFT:
            raise TlsFailedError("the peer asks for answers and does not read them")

    def _send_left(self, fd: int) -> None:
        """Send what was left of the records before; raise BlockingIOError if not all of it goes."""
        if self._left:
            self._left = self._left[os.write(fd, self._left) :]
            if self._left:
                raise BlockingIOError

    def _send(self, fd: int) -> None:
        """Send the records that OpenSSL has made; keep what the kernel does not take."""
        records = self._outgoing.read()
        if records:
            self._left = left = self._left + records
            self._left = left[os.write(fd, left) :]


def _joined(pieces: Buffers) -> memoryview:
    """Return the first pieces as one, as far as they can be sent at once."""
    if len(pieces) == 1:
        return memoryview(pieces[0])
    taken, size = [], 0
    for piece in pieces:
        taken.append(piece)
        size += len(piece)
        if size >= _AT_ONCE:
            break
    return memoryview(b"".join(taken))
