"""The worker's side of dispatch: claims each notification, accepts, and settles the claim."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from host.ipc.recent import Kind
from host.ipc.scoreboard import (
    ACCEPTED,
    ACCEPTED_ALL,
    ACTIVE,
    CLAIMED,
    CLAIMED_ALL,
    GATE_SHUT,
    REFUSED,
    SETTLED,
    SPURIOUS,
    Row,
)
from host.net import gates
from host.net.sockets import borrow
from host.runtime import streams
from host.runtime.loop import Loop
from host.telemetry.emitter import Telemetry
from host.telemetry.events import ACCEPT_FAILED
from host.worker.capacity import Capacity
from host.worker.connection import SocketConnection
from host.worker.context import ListenerContext
from host.worker.open_counts import counting_accept

# The process or the machine has no more to give: nothing is gained by trying again at once.
_CAPACITY = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_TELL_AGAIN_SECONDS = 10.0
_ACCEPTED = int(Kind.ACCEPTED)
Begin = Callable[[int, object, int, int], object]
"""Takes over a descriptor: with the address, the listener's number, and that of the claim."""


class _Counters:
    """Which cells of the scoreboard count for one listener of a row."""

    __slots__ = ("accepted", "claimed", "refused", "settled", "spurious")

    def __init__(self, row: Row, listener: int) -> None:
        self.claimed = row.cell(listener, CLAIMED)
        self.settled = row.cell(listener, SETTLED)
        self.accepted = row.cell(listener, ACCEPTED)
        self.spurious = row.cell(listener, SPURIOUS)
        self.refused = row.cell(listener, REFUSED)


class Acceptor:
    """Accepts what the supervisor tells this worker to accept.

    Each notification is claimed (`claimed` is raised) *before* accept() is called, and settled
    after it: that order is what exact dispatch rests on (see docs/dispatch.md).

    Args:
        sockets: the listening sockets, by listener number.
        contexts: what the connections of each listener share, by listener number.
        row: this worker's row of the scoreboard.
        loop: tells the time.
        telemetry: told of accepts that fail.
        capacity: asked to refuse connections for a moment if there is no room for more.

    Attributes:
        note: writes down which connections begin (host.ipc.recent); None to do without.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        contexts: Sequence[ListenerContext],
        row: Row,
        loop: Loop,
        telemetry: Telemetry,
        capacity: Capacity,
    ) -> None:
        self._contexts = contexts
        # What socket.accept() calls, too, which makes a socket object of the descriptor: that
        # would take longer than all else that is done for a connection here.
        self._accepts = [sock._accept for sock in sockets]  # type: ignore[attr-defined]
        self._cells = row.cells
        self._counters = [_Counters(row, listener) for listener in range(len(sockets))]
        self._active, self._claimed_all = row.index(ACTIVE), row.index(CLAIMED_ALL)
        self._accepted_all = row.index(ACCEPTED_ALL)
        self._loop, self._telemetry, self._capacity = loop, telemetry, capacity
        self.note: Callable[..., None] | None = None
        self._serial = 0
        self._begins: list[Begin] = [self.begin] * len(sockets)
        self._silent_until: dict[int, float] = {}

    def accept(self, listener: int, notifications: int) -> None:
        """Claim that many notifications of a listener, one after the other."""
        cells, of_listener, accept = self._cells, self._counters[listener], self._accepts[listener]
        begin = self._begins[listener]
        claimed, settled, accepted = of_listener.claimed, of_listener.settled, of_listener.accepted
        active, claimed_all, accepted_all = self._active, self._claimed_all, self._accepted_all
        for _ in range(notifications):
            # Counted as active first: the supervisor must never see less than there is, or it
            # would hand out more than max_connections_per_worker.
            cells[active] += 1
            cells[claimed] = claim = cells[claimed] + 1
            cells[claimed_all] += 1
            try:
                fd, address = accept()
                if fd <= 2:  # a plugin has closed a standard stream
                    fd = streams.move_away(fd)
            except OSError as error:
                cells[active] -= 1
                nobody_waits = isinstance(error, BlockingIOError)
                cells[of_listener.spurious if nobody_waits else of_listener.refused] += 1
                cells[settled] = claim
                if not nobody_waits:
                    self._failed(listener, error)
            else:
                cells[accepted] += 1
                cells[settled] = claim  # each claim is settled before the next one is made
                cells[accepted_all] += 1
                os.set_blocking(fd, False)  # an accepted socket does not inherit it (accept(2))
                if cells[GATE_SHUT]:  # the host is stopping: its listeners let nobody new in
                    with suppress(OSError), borrow(fd) as sock:
                        gates.lift(sock)
                begin(fd, address, listener, claim)

    def ask_first(self, listener: int, begin: Begin, is_full: Callable[[], bool] | None) -> None:
        """Have somebody else decide on the connections of a listener.

        Args:
            listener: its number.
            begin: decides; it calls the method `begin` for those that come in.
            is_full: tells whether no more can be decided on: then they are left to others, as if
                nobody waited. None if that is never so.
        """
        self._begins[listener] = begin
        if is_full is None:
            return
        accept = self._accepts[listener]

        def accept_if_there_is_room() -> Any:
            if is_full():
                raise BlockingIOError
            return accept()

        self._accepts[listener] = accept_if_there_is_room

    def count_open(self, listener: int, cell: int) -> None:
        """Have the accepted connections of a listener counted in this cell of the scoreboard."""
        self._accepts[listener] = counting_accept(self._accepts[listener], self._cells, cell)

    def begin(self, fd: int, address: object, listener: int, claim: int) -> SocketConnection | None:
        """Begin a connection, which owns the descriptor; return None if that has failed.

        Args:
            fd: a non-blocking descriptor.
            address: what accept(2) has returned, or an origin.
            listener: the number of its listener.
            claim: the number of the claim that it was accepted for.
        """
        self._serial += 1
        context = self._contexts[listener]
        connection = SocketConnection(fd, address, self._serial, context, claim)
        try:
            connection.watch()
        except OSError as error:  # ENOSPC or ENOMEM of epoll_ctl(2): as if it had not come
            context.close(fd)
            self._cells[self._active] -= 1
            self._failed(listener, error)
            return None
        context.open.add(connection)
        if self.note is not None:
            self.note(_ACCEPTED, self._serial, context.listener.index)
        connection.begin()
        return connection

    def _failed(self, listener: int, error: OSError) -> None:
        """Tell of a failed accept, at most once in a while for each kind of error.

        Without capacity this worker takes no more for a moment; anything else concerns the one
        connection only (accept(2)), which is gone or will be handed out again.
        """
        number = error.errno or 0
        short = number in _CAPACITY or number == errno.ENOSPC
        if short:
            self._capacity.refuse()
        now = self._loop.now
        if now < self._silent_until.get(number, 0.0):
            return
        self._silent_until[number] = now + _TELL_AGAIN_SECONDS
        self._telemetry.emit(
            ACCEPT_FAILED,
            slot=self._contexts[listener].worker.slot,
            address=self._contexts[listener].listener.address,
            error=f"{errno.errorcode.get(number, number)} ({os.strerror(number)})",
            consequence="connections wait until there is room" if short else "others go on",
        )
