"""A connection to a server that speaks the protocol of Redis (RESP3, HELLO 3)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import hiredis

from host.bridge.wire import PlainWire, Wire, open_socket
from host.runtime.loop import Loop
from host.settings.bus import BrokerAddress
from host.text import reason

Reply = Callable[[Any], object]
_Push = hiredis.PushNotification
_NOTHING = object()
_READ_BYTES = 65_536
_DONE = b":1\r\n"
"""How a script answers that has done something."""
_MOST_BYTES = 67_108_864
"""How long an answer may be: that is far more than any of the scripts has."""


class LinkError(Exception):
    """The server is away, refuses, or says what it must not; the text says which."""


class Link(asyncio.BufferedProtocol):
    """Commands one after the other, with their replies in that order, and pushes as they come.

    What follows a command on the server follows its reply here too: a message that is published
    after a script was run is pushed after the script's reply.

    Args:
        on_push: called with the parts of what the server sends by itself.
        on_end: called once with the reason when the connection has ended, after all replies that
            are missing have come as a `LinkError`.
        on_read: called when all is passed on that has come at once.

    Attributes:
        is_reading: whether more may be passed on before `on_read` is called.
        is_gathering: whether commands wait until `flush` is called, which costs less than another
            turn of the loop; whoever sets it calls that.
        is_paused: whether nothing is read at the moment.
    """

    def __init__(
        self,
        on_push: Callable[[list[Any]], object],
        on_end: Callable[[str], object],
        on_read: Callable[[], object],
    ) -> None:
        self._on_push, self._on_end, self._on_read = on_push, on_end, on_read
        self.is_reading = self.is_gathering = self.is_paused = False
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._waiting: deque[Reply] = deque()
        self._transport: Wire | None = None
        self._unsent: list[bytes] = []
        # One for all reads: of its own, asyncio takes more for each. A view, since asyncio's TLS
        # slices it to write behind what it has read: a slice of a bytearray would be a copy.
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self._ended = ""
        self._fed = 0
        self._be_patient: Callable[..., None] = _nothing
        self._is_patient = False
        self._asked = self._answered = self._urgent = 0
        self._is_whole = False  # what has come last: no part of something is missing

    @property
    def has_ended(self) -> bool:
        """Whether the connection has ended, or is about to."""
        return self._transport is None or self._transport.is_closing()

    @property
    def unanswered(self) -> int:
        """How many replies are missing."""
        return len(self._waiting)

    @property
    def unsent_bytes(self) -> int:
        """How many bytes the server has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def call(self, done: Reply | None, *command: bytes | str | int, is_urgent: bool = True) -> None:
        """Send a command.

        Args:
            done: called with its reply: a `hiredis.ReplyError` if the server refuses it, a
                `LinkError` if the connection has ended before. None for what is answered by a
                push alone, such as SUBSCRIBE.
            command: its words.
            is_urgent: whether somebody waits for the reply, which may come a moment later if not.
        """
        words: tuple[Any, ...] = command
        self.send(done, hiredis.pack_command(words), is_urgent=is_urgent)

    def send(self, done: Reply | None, written: bytes, *, is_urgent: bool) -> None:
        """Send a command that is written already; see `call`."""
        if done is not None:
            self._waiting.append(done)
            self._asked += 1
            if is_urgent:
                self._urgent = self._asked
        if not self._unsent and not self.is_gathering:
            asyncio.get_running_loop().call_soon(self.flush)
        self._unsent.append(written)

    def flush(self) -> None:
        """Send the commands that wait, now."""
        self.is_gathering = False
        if not self._unsent:
            return
        data, self._unsent = b"".join(self._unsent), []
        if self._transport is not None and not self._transport.is_closing():
            patient = self._is_whole and self._urgent <= self._answered
            if patient is not self._is_patient:
                self._wait_for_more(patient=patient)
            self._transport.write(data)

    def hurry(self) -> None:
        """Take in the replies that nobody has waited for."""
        self._urgent = self._asked
        if self._is_patient:
            self._wait_for_more(patient=False)

    def pause(self, *, paused: bool) -> None:
        """Read nothing more of what the server sends, or go on."""
        if paused is self.is_paused or self._transport is None or self._transport.is_closing():
            return
        self.is_paused = paused
        (self._transport.pause_reading if paused else self._transport.resume_reading)()

    def close(self, reason: str) -> None:
        """End the connection, for a reason that `on_end` is told."""
        self._ended = self._ended or reason
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: asyncio calls it."""
        assert isinstance(transport, asyncio.Transport)
        self.begin(transport)

    def begin(self, wire: Wire) -> None:
        """Speak over a wire."""
        self._transport = wire
        if isinstance(wire, PlainWire):
            self._be_patient = wire.be_patient

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where what comes is to be put: asyncio calls it."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take in what has come: asyncio calls it."""
        self.take(bytes(self._buffer[:nbytes]))

    def take(self, data: bytes) -> None:
        """Take in what has come."""
        self.is_reading = True
        try:
            self._pass_on(data)
        finally:
            self.is_reading = False
            if self._is_patient and not self._is_whole:  # what is missing may be short
                self._wait_for_more(patient=False)
            self._on_read()

    def _pass_on(self, data: bytes) -> None:
        reader = self._reader
        self._fed += len(data)
        count, self._is_whole = 0, False
        try:
            if self._fed > _MOST_BYTES:
                raise LinkError(f"an answer of more than {_MOST_BYTES} bytes")
            reader.feed(data)
            while (reply := reader.gets()) is not _NOTHING:
                self._fed = 0
                count += 1
                if isinstance(reply, _Push):
                    self._on_push(reply)
                elif self._waiting:
                    self._answered += 1
                    self._waiting.popleft()(reply)
                elif isinstance(reply, hiredis.ReplyError):  # of what else only pushes answer
                    self.close(f"it refuses to be listened to: {reply}")
                else:
                    raise LinkError("an answer to no question")
            # `hiredis` does not tell whether it has begun with something that is not whole yet.
            self._is_whole = data == _DONE * count
        except (hiredis.HiredisError, LinkError, UnicodeDecodeError) as error:
            self.close(f"what the server sends is not the protocol of Redis: {error}")
        except MemoryError:
            self.close("there is no memory for an answer as long as the server says")

    def connection_lost(self, error: Exception | None) -> None:
        """End: asyncio calls it."""
        reason = self._ended or (str(error) if error else "the server has closed it")
        while self._waiting:
            self._waiting.popleft()(LinkError(reason))
        self._on_end(reason)

    def _wait_for_more(self, *, patient: bool) -> None:
        self._is_patient = patient
        self._be_patient(patient=patient)


def _nothing(*, patient: bool) -> None:
    """Stand in for a wire that cannot wait."""


async def connect(
    address: BrokerAddress,
    password: str,
    on_push: Callable[[list[Any]], object],
    on_end: Callable[[str], object],
    on_read: Callable[[], object],
    context: ssl.SSLContext | None = None,
    host_loop: Loop | None = None,
) -> Link:
    """Connect, and log in.

    Args:
        address: where, and as whom.
        password: the password; "" for none.
        on_push: see `Link`.
        on_end: see `Link`.
        on_read: see `Link`.
        context: how TLS is spoken, if it is.
        host_loop: the host's loop, if asyncio's takes its turns there: it costs less then.

    Returns:
        The connection; the caller closes it.

    Raises:
        LinkError: the server is not there, or refuses.
    """
    link = Link(on_push, on_end, on_read)
    try:
        sock = await open_socket(address.host, address.port, address.path)
        if host_loop is not None and not address.is_tls:
            link.begin(PlainWire(sock, host_loop, link))
        else:
            tls, name = (context, address.host) if address.is_tls else (None, None)
            await asyncio.get_running_loop().create_connection(
                lambda: link, sock=sock, ssl=tls, server_hostname=name
            )
    except OSError as error:
        raise LinkError(f"cannot connect to {address}: {_cause(error)}") from None
    login: list[str] = []
    if password:
        login = ["AUTH", address.user or "default", password]
    try:
        await ask(link, "HELLO", "3", *login)
        if address.database:
            await ask(link, "SELECT", address.database)
    except BaseException:
        link.close("it could not log in")
        raise
    return link


def _cause(error: OSError) -> str:
    """Return why a connection could not be made: asyncio has words of its own for that."""
    if isinstance(error, ssl.SSLError):
        return f"TLS: {getattr(error, 'verify_message', '') or error.reason or error}"
    if isinstance(error, socket.gaierror) or not error.errno:
        return reason(error)
    return os.strerror(error.errno)


async def ask(link: Link, *command: bytes | str | int) -> Any:
    """Return the reply to a command.

    Raises:
        LinkError: the server refuses it, or is away.
    """
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def take(reply: Any) -> None:
        if not answer.done():
            answer.set_result(reply)

    link.call(take, *command)
    reply = await answer
    if isinstance(reply, LinkError):
        raise reply
    if isinstance(reply, hiredis.ReplyError):
        raise LinkError(f"the server refuses {command[0]!r}: {reply}")
    return reply


async def load(link: Link, scripts: Mapping[str, str]) -> dict[str, str]:
    """Have the server know scripts; return the digest of each.

    Raises:
        LinkError: it refuses one.
    """
    await asyncio.gather(*(ask(link, "SCRIPT", "LOAD", text) for text in scripts.values()))
    return {
        name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        for name, text in scripts.items()
    }
