"""Connections that wait to be let in, and how long they may."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from host.interfaces import ConnectionOrigin
from host.net.proxy_protocol import Parsed
from host.net.sockets import describe
from host.runtime.loop import Loop
from host.settings import Limits

if TYPE_CHECKING:  # a worker without TLS does not import it
    from host.worker.handshakes import Handshake

_PART_UNDER_PRESSURE = 0.1
"""Which part of their time those have who wait while others find no place. Who means to come in
needs a few round trips; who says nothing would keep everybody out for the whole of it."""
_PART_FREED = 0.125
"""Which part of the places is made free then, if so many have waited for long enough."""
_SILENT_PROXY = (
    "some send it with the first bytes of their client only, which may wait for a greeting: an"
    " NLB of AWS does, unless its attribute proxy_protocol_v2.client_to_server.header_placement"
    " is on_first_ack"
)


@dataclass(slots=True, eq=False)
class PendingConnection:
    """A connection that is not let in yet; it owns the descriptor.

    Attributes:
        sock: its socket.
        address: the other end, as accept(2) has returned it.
        listener: the listener that it came in on.
        claim: the number of the claim that it was accepted for.
        due: when it is refused, in seconds of the loop's clock.
        data: what has come of the header of its proxy.
        parsed: that header, once it is whole.
        handshake: its TLS handshake, once that is waited for.
        placed: since when it has a place, in seconds of the loop's clock.
    """

    sock: socket.socket
    address: object
    listener: int
    claim: int
    due: float
    data: bytes = b""
    parsed: Parsed | None = None
    handshake: Handshake | None = None
    placed: float = 0.0

    @property
    def peer(self) -> str:
        """The other end as text."""
        address = self.address
        return address.peer if isinstance(address, ConnectionOrigin) else describe(address)

    def take(self, size: int) -> bool:
        """Read so many bytes that were looked at; False if they are not there any more."""
        with suppress(OSError):
            while size and (data := self.sock.recv(size)):
                size -= len(data)
        return not size

    def why_late(self, seconds: float) -> str:
        """Say what has not come for so many seconds."""
        if self.handshake is not None:
            return f"its TLS handshake was not done after {seconds:g} s"
        if self.data:
            return f"its PROXY header was not whole after {seconds:g} s"
        return f"it has sent no PROXY header for {seconds:g} s; {_SILENT_PROXY}"


class PendingTimes:
    """Refuses those that have waited for too long, in the order in which they came.

    All have the same time, so one timer serves them all. While all places are taken they have less.

    A client that has to speak first, as with TLS, has no place before it does: so it keeps nobody
    out, and costs no more than a connection that is idle. If there is no place for it then, it is
    not heard until there is one, which it gets before somebody who comes.

    Args:
        pending: those that wait, in the order in which they came.
        limits: how long they may wait, and how many.
        loop: the worker's loop.
        refuse: called with one that has waited for too long, and with the reason; `pending` does
            not have it after that.
    """

    def __init__(
        self,
        pending: dict[PendingConnection, None],
        limits: Limits,
        loop: Loop,
        refuse: Callable[[PendingConnection, str], object],
    ) -> None:
        self._pending, self._loop, self._refuse = pending, loop, refuse
        self._most, self._seconds = limits.max_admissions_per_worker, limits.admission_seconds
        self._is_timed = self._is_pressed = False
        self._placed: dict[PendingConnection, None] = {}  # in the order in which they got a place
        self._unheard: dict[PendingConnection, None] = {}  # those that have spoken and have none

    @property
    def is_full(self) -> bool:
        """Whether as many wait as may."""
        return len(self._placed) >= self._most

    def begin(self) -> None:
        """Note that one more waits."""
        if not self._is_timed:
            self._is_timed = True
            self._loop.call_at(self._oldest.due, self._refuse_late)

    def place(self, connection: PendingConnection) -> bool:
        """Give a place to one that has none; return whether it has one."""
        if connection in self._placed:
            return True
        if self.is_full:
            self._unheard[connection] = None
            return False
        connection.placed = self._loop.now
        self._placed[connection] = None
        if len(self._placed) == self._most and not self._is_pressed:
            self._is_pressed = True
            self._loop.call_at(self._due_under_pressure, self._make_room)
        return True

    def leave(self, connection: PendingConnection) -> None:
        """Free the place of one that does not wait any more, for one that has spoken."""
        self._unheard.pop(connection, None)
        if self._placed.pop(connection, self) is self:
            return
        while self._unheard and not self.is_full:
            heard = next(iter(self._unheard))
            del self._unheard[heard]
            self.place(heard)
            assert heard.handshake is not None
            heard.handshake.go_on()

    @property
    def _oldest(self) -> PendingConnection:
        return next(iter(self._pending))

    @property
    def _due_under_pressure(self) -> float:
        return next(iter(self._placed)).placed + self._seconds * _PART_UNDER_PRESSURE

    def _refuse_late(self) -> None:
        """Refuse those whose time is up, and wait for the next one's."""
        while self._pending:
            oldest = self._oldest
            if oldest.due > self._loop.now:
                self._loop.call_at(oldest.due, self._refuse_late)
                return
            self._refuse(oldest, oldest.why_late(self._seconds))
        self._is_timed = False

    def _make_room(self) -> None:
        """Refuse the oldest while as many wait as may, so that others come in."""
        seconds, enough = self._seconds * _PART_UNDER_PRESSURE, self._most * (1 - _PART_FREED)
        if self.is_full:
            while len(self._placed) > enough and self._due_under_pressure <= self._loop.now:
                oldest = next(iter(self._placed))
                why = f"{self._most} waited, which is the most, and {oldest.why_late(seconds)}"
                self._refuse(oldest, why)
        self._is_pressed = self.is_full
        if self._is_pressed:
            self._loop.call_at(self._due_under_pressure, self._make_room)
