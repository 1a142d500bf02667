"""The worker's side of dispatch: claims each notification, accepts, and settles the claim."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence

from host import listeners
from host.connection import SocketConnection
from host.events import ACCEPT_FAILED
from host.loop import Loop
from host.scoreboard import (
    ACCEPTED,
    ACCEPTED_ALL,
    ACTIVE,
    CLAIMED,
    CLAIMED_ALL,
    HELD_BACK,
    REFUSED,
    SETTLED,
    SPURIOUS,
    Row,
)
from host.service import Service
from host.telemetry import Telemetry

# The process or the machine has no more to give: nothing is gained by trying again at once.
_CAPACITY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_RETRY_SECONDS = 0.1
_SAY_AGAIN_SECONDS = 10.0


class Acceptor:
    """Accepts what the supervisor tells this worker to accept.

    Each notification is claimed (`claimed` is raised) *before* accept() is called, and settled
    after it: that order is what exact dispatch rests on (see docs/dispatch.md).

    Args:
        sockets: the listening sockets, by listener number.
        services: what the connections of each listener share.
        row: this worker's row of the scoreboard.
        wake: makes the supervisor look for waiting connections.
        gate_shut: tells whether the host is stopping and its listeners let nobody in any more.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        services: Sequence[Service],
        row: Row,
        loop: Loop,
        telemetry: Telemetry,
        wake: Callable[[], None],
        gate_shut: Callable[[], bool],
    ) -> None:
        self._sockets, self._services, self._row = sockets, services, row
        self._loop, self._telemetry, self._wake = loop, telemetry, wake
        self._gate_shut = gate_shut
        self._serial = 0
        self._said: dict[int, float] = {}

    def accept(self, listener: int, notifications: int) -> None:
        """Claim that many notifications of a listener, one after the other."""
        row, sock = self._row, self._sockets[listener]
        for _ in range(notifications):
            # Counted as active first: the supervisor must never see less than there is, or it
            # would hand out more than max_connections_per_worker.
            row.put(ACTIVE, row.get(ACTIVE) + 1)
            row.add(listener, CLAIMED)
            row.put(CLAIMED_ALL, row.get(CLAIMED_ALL) + 1)
            try:
                accepted, address = sock.accept()
            except BlockingIOError:
                row.put(ACTIVE, row.get(ACTIVE) - 1)
                row.add(listener, SPURIOUS)
                row.add(listener, SETTLED)
            except OSError as error:
                row.put(ACTIVE, row.get(ACTIVE) - 1)
                row.add(listener, REFUSED)
                row.add(listener, SETTLED)
                self._failed(listener, error)
            else:
                row.add(listener, ACCEPTED)
                row.add(listener, SETTLED)
                row.put(ACCEPTED_ALL, row.get(ACCEPTED_ALL) + 1)
                self._begin(accepted, address, listener)

    def _begin(self, sock: socket.socket, address: object, listener: int) -> None:
        self._serial += 1
        service = self._services[listener]
        if self._gate_shut():
            listeners.reopen(sock)
        connection = SocketConnection(
            sock, address, self._serial, service, self._row.count(listener, CLAIMED)
        )
        try:
            connection.watch()
        except OSError as error:  # ENOSPC or ENOMEM of epoll_ctl(2): as if it had not come
            sock.close()
            self._row.put(ACTIVE, self._row.get(ACTIVE) - 1)
            self._failed(listener, error)
            return
        service.connections.add(connection)
        connection.begin()

    def _failed(self, listener: int, error: OSError) -> None:
        """Tell of a failed accept, at most once in a while for each kind of error.

        Without capacity this worker takes no more for a moment; anything else concerns the one
        connection only (accept(2)), which is gone or will be handed out again.
        """
        number = error.errno or 0
        short = number in _CAPACITY or number == errno.ENOSPC
        if short and not self._row.get(HELD_BACK):
            self._row.put(HELD_BACK, 1)
            self._loop.call_at(self._loop.now + _RETRY_SECONDS, self.take_again)
        now = self._loop.now
        if now < self._said.get(number, 0.0):
            return
        self._said[number] = now + _SAY_AGAIN_SECONDS
        self._telemetry.emit(
            ACCEPT_FAILED,
            slot=self._services[listener].worker.slot,
            address=self._services[listener].listener.address,
            error=f"{errno.errorcode.get(number, number)} ({os.strerror(number)})",
            consequence="connections wait until there is room" if short else "others go on",
        )

    def take_again(self) -> None:
        """Ask for connections again, if this worker has run out of something a moment ago."""
        if self._row.get(HELD_BACK):
            self._row.put(HELD_BACK, 0)
            self._wake()
