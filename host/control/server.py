"""The admin socket: takes commands to a running host, one JSON object a line."""

from __future__ import annotations

import json
import os
import select
import socket
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from host.control import commands
from host.control.commands import MAX_REQUEST_BYTES, VERSION, CommandError
from host.net.sockets import credentials
from host.runtime.loop import READ, WRITE, Loop, TimerHandle
from host.telemetry.emitter import Telemetry
from host.telemetry.events import ADMIN_COMMAND, HOST_BUG

MAX_CLIENTS = 16
IDLE_SECONDS = 60.0
"""How long a client has for its next request."""
TAKE_SECONDS = 5.0
"""How long a client has to take a piece of its response."""

_READ_BYTES = 16_384
_BACKLOG = 64
_PAUSE_SECONDS = 1.0
"""How long nobody is accepted after the system has refused it: there are no descriptors left."""
_ITEMS = 500
"""Items of a long list that make one piece: about 75 KB of connections, and a millisecond."""
_PIECE_BYTES = 32_768

Respond = Callable[[dict[str, Any]], object]


class Reply:
    """How a command is answered: once, at once or later. A second answer counts for nothing.

    Args:
        respond: sends a response; harmless if whoever has asked is gone.
        head: what the response begins with.
    """

    __slots__ = ("_head", "_respond")

    def __init__(self, respond: Respond, head: Mapping[str, Any]) -> None:
        self._respond: Respond | None = respond
        self._head = {"v": VERSION, **head}

    def result(self, result: Mapping[str, Any]) -> None:
        """Answer that it was done, and with which result."""
        self._send({**self._head, "ok": True, "result": result})

    def error(self, message: str) -> None:
        """Answer that it was not done, and why."""
        self._send({**self._head, "ok": False, "error": message})

    def _send(self, response: dict[str, Any]) -> None:
        respond, self._respond = self._respond, None
        if respond is not None:
            respond(response)


Handle = Callable[[str, dict[str, Any], Reply], None]
"""Carries out a command, given its name and arguments; it may raise `CommandError`."""


@dataclass(slots=True, eq=False)
class _Client:
    """Somebody who is connected.

    Attributes:
        pid, uid: who connected, as the kernel says.
        received: what came and was not taken yet: less than a request and one read.
        searched: how much of it has no end of a request.
        line: a request that waits for its turn.
        answering: a request has had its turn, and its response is not taken yet.
        unsent, pieces: the rest of a response: what is written of it, and what is not.
        ended: it sends nothing more.
        gone: it has hung up.
        closing: it is closed when it has taken its response.
    """

    sock: socket.socket
    pid: int
    uid: int
    received: bytearray = field(default_factory=bytearray)
    searched: int = 0
    line: bytes | None = None
    unsent: bytes | memoryview = b""
    pieces: Iterator[bytes] = field(default_factory=lambda: iter(()))
    answering: bool = False
    ended: bool = False
    gone: bool = False
    closing: bool = False
    closed: bool = False
    watched: int = READ
    timer: TimerHandle | None = None

    @property
    def is_read(self) -> bool:
        """Whether it may send now: what it has sent before is done with."""
        return not (self.answering or self.ended or self.line is not None)

    def take_line(self) -> bytes | None:
        """Take the next request from what was received; None if it is not complete.

        Raises:
            CommandError: it is too long.
        """
        at = self.received.find(b"\n", self.searched)
        self.searched = len(self.received)
        if (self.searched if at < 0 else at) > MAX_REQUEST_BYTES:
            raise CommandError(f"a request is a line of at most {MAX_REQUEST_BYTES} bytes")
        if at < 0:
            return None
        line = bytes(self.received[:at])
        del self.received[: at + 1]
        self.searched = 0
        return line


class ControlServer:
    """Serves the clients of the admin socket, and never waits for any of them.

    Only processes of the same user, and root's, are let in. Of a client one request is under way at
    a time, and of all clients one has its turn in each turn of the loop: whatever they send, it
    costs the others no more than that.

    Args:
        loop: the supervisor's loop.
        telemetry: is told of commands that change something.
        sock: what `bind` has returned, in this process or before an exec; `close` closes it.
        handle: carries out a command that was found to be valid.
    """

    def __init__(
        self, loop: Loop, telemetry: Telemetry, sock: socket.socket, handle: Handle
    ) -> None:
        sock.setblocking(False)
        self._loop, self._telemetry, self._sock, self._handle = loop, telemetry, sock, handle
        self._clients: set[_Client] = set()
        self._queue: deque[_Client] = deque()
        self._scheduled = False
        self._closed = False
        loop.add(sock.fileno(), READ, lambda _mask: self._accept())

    @staticmethod
    def bind(name: str) -> socket.socket:
        """Return a listening socket for the host `name`; nothing of it is in the file system.

        Raises:
            OSError: EADDRINUSE if another process has the name.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(commands.address(name))
            sock.listen(_BACKLOG)
        except BaseException:
            sock.close()
            raise
        return sock

    def fileno(self) -> int:
        """Return the listening socket's descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close all sockets.

        The loop is left as it is: in a child this is the parent's, and what is taken out of an
        epoll instance that is shared is out of it for both (epoll(7)).
        """
        self._closed = True
        self._queue.clear()
        for client in self._clients:
            client.closed = True
            client.sock.close()
        self._clients.clear()
        self._sock.close()

    # Who comes and goes

    def _accept(self) -> None:
        if self._closed:
            return
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # EMFILE, ENFILE, ENOMEM: whoever waits would wake the loop at every turn
            self._loop.modify(self.fileno(), 0)
            self._loop.call_at(self._loop.now + _PAUSE_SECONDS, self._accept_again)
            return
        sock.setblocking(False)
        pid, uid = credentials(sock)
        own = os.geteuid()
        if uid not in (own, 0):
            _refuse(sock, f"not permitted: this host takes commands from uid {own} and root only")
        elif not self._make_room():
            _refuse(sock, f"{MAX_CLIENTS} clients are connected, which is the most: try again")
        else:
            self._take_in(_Client(sock, pid, uid))

    def _make_room(self) -> bool:
        """Let go of whoever has been idle for longest if all places are taken; False if nobody."""
        if len(self._clients) < MAX_CLIENTS:
            return True
        idle = [each for each in self._clients if each.is_read and each.timer is not None]
        if idle:
            self._close(min(idle, key=lambda each: each.timer.when if each.timer else 0.0))
        return bool(idle)

    def _take_in(self, client: _Client) -> None:
        try:
            self._loop.add(client.sock.fileno(), READ, lambda mask: self._on_event(client, mask))
        except OSError:  # ENOSPC, ENOMEM of epoll_ctl(2)
            client.sock.close()
            return
        self._clients.add(client)
        self._arm(client, IDLE_SECONDS)

    def _accept_again(self) -> None:
        if not self._closed:
            self._loop.modify(self.fileno(), READ)

    def _on_event(self, client: _Client, mask: int) -> None:
        if mask & WRITE and client.unsent:
            self._flush(client)
        elif client.is_read and not client.closed:
            self._read(client)  # to the end of file, if it has hung up
        elif mask & ~(READ | WRITE) and not client.closed and _hung_up(client.sock):
            self._hang_up(client)

    def _read(self, client: _Client) -> None:
        try:
            data = client.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # ECONNRESET: it did not take all of a response
            self._close(client)
            return
        client.received += data
        client.ended = not data
        self._advance(client)

    def _hang_up(self, client: _Client) -> None:
        """Let a client go; a request that it has sent completely is carried out."""
        if client.line is None:
            self._close(client)
        else:
            client.gone = True
            self._loop.remove(client.sock.fileno())

    def _close(self, client: _Client) -> None:
        client.closed = True
        client.unsent, client.pieces = b"", iter(())
        self._clients.discard(client)
        self._loop.remove(client.sock.fileno())
        client.sock.close()
        self._arm(client, None)

    def _arm(self, client: _Client, seconds: float | None) -> None:
        """Close the client in so many seconds, or not at all."""
        if client.timer is not None:
            client.timer.cancel()
            client.timer = None
        if seconds is not None:
            due = self._loop.now + seconds
            client.timer = self._loop.call_at(due, lambda: self._close(client))

    def _watch(self, client: _Client, events: int) -> None:
        if client.watched != events and not client.gone:
            client.watched = events
            self._loop.modify(client.sock.fileno(), events)

    # Requests, one after the other, and their responses

    def _advance(self, client: _Client) -> None:
        """Go on with a client that has nothing under way."""
        if client.closing:
            self._close(client)
            return
        try:
            client.line = client.take_line()
            if client.line is None and client.ended and client.received:
                raise CommandError("a request ends with a newline")
        except CommandError as error:
            client.closing = client.answering = True
            self._reply_to(client, {}).error(str(error))
            return
        if client.line is not None:
            self._arm(client, None)
            self._watch(client, 0)
            self._queue.append(client)
            self._schedule()
        elif client.ended:
            self._close(client)
        else:
            self._watch(client, READ)

    def _schedule(self) -> None:
        if self._queue and not self._scheduled:
            self._scheduled = True
            self._loop.call_from_thread(self._take_turn)

    def _take_turn(self) -> None:
        self._scheduled = False
        if not self._queue:  # closed meanwhile
            return
        client = self._queue.popleft()
        line, client.line = client.line, None
        assert line is not None
        client.answering = True
        if client.gone:
            self._close(client)
        self._carry_out(client, line)
        self._schedule()

    def _carry_out(self, client: _Client, line: bytes) -> None:
        reply = self._reply_to(client, {})
        try:
            request = commands.read_request(line)
            if "id" in request:
                reply = self._reply_to(client, {"id": request["id"]})
            command, args = commands.parse_request(request)
            if command.changes:
                self._telemetry.emit(
                    ADMIN_COMMAND, command=command.name, uid=client.uid, peer_pid=client.pid
                )
            self._handle(command.name, args, reply)
        except CommandError as error:
            reply.error(str(error))
        except Exception as error:
            named = f"{type(error).__name__}: {error}"
            stack = "".join(traceback.format_exception(error))
            self._telemetry.emit(HOST_BUG, error=named, traceback=stack)
            reply.error(f"a fault of the host itself, please report it: {named}")

    def _reply_to(self, client: _Client, head: Mapping[str, Any]) -> Reply:
        return Reply(lambda response: self._respond(client, response), head)

    def _respond(self, client: _Client, response: dict[str, Any]) -> None:
        if client.closed:
            return
        client.pieces = _pieces(response)
        client.unsent = memoryview(next(client.pieces))
        self._arm(client, TAKE_SECONDS)
        self._flush(client)

    def _flush(self, client: _Client) -> None:
        """Send what the client takes now, at most one piece."""
        try:
            sent = client.sock.send(client.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(client)
            return
        client.unsent = client.unsent[sent:]
        if not client.unsent:
            client.unsent = memoryview(next(client.pieces, b""))
            self._arm(client, TAKE_SECONDS if client.unsent else IDLE_SECONDS)
        if client.unsent:
            self._watch(client, WRITE)
        else:
            client.answering = False
            self._advance(client)


def _refuse(sock: socket.socket, message: str) -> None:
    """Tell somebody why they cannot come in."""
    with sock, suppress(OSError):
        Reply(lambda response: sock.send(b"".join(_pieces(response))), {}).error(message)


def _hung_up(sock: socket.socket) -> bool:
    """Ask a socket itself: the event may be that of another one that had its descriptor before."""
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))


def _pieces(response: Mapping[str, Any]) -> Iterator[bytes]:
    """Write a response as one line, in pieces none of which takes long to write."""
    piece = bytearray()
    for text in _texts(response):
        piece += text.encode()
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + b"\n")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for number, (key, item) in enumerate(value.items()):
            yield f"{',' if number else '{'}{json.dumps(str(key))}:"
            yield from _texts(item)
        yield "}" if value else "{}"
    elif isinstance(value, list) and len(value) > _ITEMS:
        for start in range(0, len(value), _ITEMS):
            yield "," if start else "["
            yield json.dumps(value[start : start + _ITEMS], default=str)[1:-1]
        yield "]"
    else:
        yield json.dumps(value, default=str)
