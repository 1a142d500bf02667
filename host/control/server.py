"""The control socket: lets clients in and has their commands carried out, one in each turn."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from host.control.commands import CommandError
from host.control.connection import ControlConnection
from host.control.replies import Reply, pieces
from host.control.requests import parse_request, read_request
from host.control.wire import address
from host.net.credentials import credentials
from host.runtime.loop import READ, Loop
from host.telemetry.emitter import Telemetry
from host.telemetry.events import ADMIN_COMMAND, HOST_BUG
from host.text import in_words, stack_of

MAX_CLIENTS = 16
STEPS_SECONDS = 0.001
"""How long steps of a command are taken in one turn; then others have the loop as long again."""

_BACKLOG = 64
_PAUSE_SECONDS = 1.0
"""How long nobody is accepted after the system has refused it: there are no descriptors left."""

Handle = Callable[[str, dict[str, Any], Reply], Iterator[None] | None]
"""Carries out a command, given its name and arguments; it may raise `CommandError`. What takes long
is left to the iterator that it returns, whose steps are taken over several turns."""


class ControlServer:
    """Serves the clients of the control socket, and never waits for any of them.

    Only processes of the same user, and root's, are let in. Of a client one request is under way at
    a time, and of all clients one has its turn in each turn of the loop: whatever they send, it
    costs the others no more than that. A command that takes long goes on when it is the turn of its
    client again.

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
        self._clients: set[ControlConnection] = set()
        self._queue: deque[Iterator[None]] = deque()  # the commands, and what is left of them
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
            sock.bind(address(name))
            sock.listen(_BACKLOG)
        except BaseException:
            sock.close()
            raise
        return sock

    @staticmethod
    def owner(name: str) -> str:
        """Say which process has the socket of the host `name`, as far as the kernel tells."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.setblocking(False)
            try:
                sock.connect(address(name))
                pid, uid = credentials(sock)
            except OSError:  # it does not listen, or its backlog is full
                return "another process"
        return f"process {pid} of uid {uid}" if pid else f"a process of uid {uid}"

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
            client.abandon()
        self._clients.clear()
        self._sock.close()

    def _accept(self) -> None:
        if self._closed:
            return
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # EMFILE, ENFILE, ENOMEM: who waits would wake the loop at every turn
            self._loop.modify(self.fileno(), 0)
            self._loop.call_at(self._loop.now + _PAUSE_SECONDS, self._accept_again)
            return
        sock.setblocking(False)
        uid, own = credentials(sock)[1], os.geteuid()
        if uid not in (own, 0):
            _refuse(sock, f"not permitted: this host takes commands from uid {own} and root only")
        elif not self._make_room():
            _refuse(sock, f"{MAX_CLIENTS} clients are connected, which is the most: try again")
        else:
            self._let_in(sock)

    def _accept_again(self) -> None:
        if not self._closed:
            self._loop.modify(self.fileno(), READ)

    def _make_room(self) -> bool:
        """Close the client that is idle for longest if all places are taken; False if none is."""
        if len(self._clients) < MAX_CLIENTS:
            return True
        idle = [
            (until, client) for client in self._clients if (until := client.idle_until) is not None
        ]
        if idle:
            min(idle, key=lambda each: each[0])[1].close()
        return bool(idle)

    def _let_in(self, sock: socket.socket) -> None:
        client = ControlConnection(self._loop, sock, self._line_up, self._clients.discard)
        with suppress(OSError):
            client.open()
            self._clients.add(client)

    def _line_up(self, client: ControlConnection) -> None:
        """Have a client's request wait for its turn."""
        self._queue.append(self._carry_out(client))
        self._schedule_turn()

    def _schedule_turn(self) -> None:
        if self._queue and not self._scheduled:
            self._scheduled = True
            self._loop.call_from_thread(self._take_turn)

    def _take_turn(self) -> None:
        self._scheduled = False
        if not self._queue:  # closed meanwhile
            return
        command, until = self._queue.popleft(), self._loop.time() + STEPS_SECONDS
        for _ in command:
            if self._loop.time() >= until:
                self._queue.append(command)
                self._scheduled = True
                self._loop.call_later(STEPS_SECONDS, self._take_turn)
                return
        self._schedule_turn()

    def _carry_out(self, client: ControlConnection) -> Iterator[None]:
        """Carry out the request that waits, in steps."""
        line = client.take_request()
        reply = client.reply()
        try:
            request = read_request(line)
            if "id" in request:
                reply = client.reply({"id": request["id"]})
            parsed = parse_request(request)
            if isinstance(parsed, int):
                client.send_page(parsed)
                return
            command, args = parsed
            if command.changes:
                self._telemetry.emit(
                    ADMIN_COMMAND, command=command.name, uid=client.uid, peer_pid=client.pid
                )
            yield from self._handle(command.name, args, reply) or ()
        except CommandError as error:
            reply.error(str(error))
        except Exception as error:
            named = in_words(error)
            self._telemetry.emit(HOST_BUG, error=named, traceback=stack_of(error))
            reply.error(f"a fault of the host itself, please report it: {named}")


def _refuse(sock: socket.socket, message: str) -> None:
    """Tell a client why it is not let in."""
    with sock, suppress(OSError):
        Reply(lambda response: sock.send(b"".join(pieces(response))), {}).error(message)
