"""What comes between accept() and `on_accept`: who may come in, and what a proxy says first.

A connection that waits here has been accepted and counts as active. Plugins do not know of it, so
one that is refused has no `on_accept` and no `on_close`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from host.interfaces import ConnectionOrigin
from host.ipc.scoreboard import BAD_PROXY, BAD_TLS, DENIED, GONE, LATE, PROBES
from host.net.proxy_protocol import MAX_BYTES, Parsed, ProxyHeaderError, parse
from host.net.sockets import describe, origin
from host.runtime.loop import READ, Loop
from host.settings import Limits
from host.text import reason
from host.worker.access import AccessRules
from host.worker.capacity import Capacity
from host.worker.pending import PendingConnection, PendingTimes
from host.worker.refusals import Refusals

if TYPE_CHECKING:  # a worker without TLS does not import it
    from host.worker.tls_setup import TlsSetup

_PROBE_SECONDS = 0.1
"""How long a connection that names no client is taken for a probe, which ends without a word."""
_GONE = "its peer has gone"


class Admitted(Protocol):
    """A connection that was let in."""

    def drain(self, deadline: float) -> None:
        """Tell its plugin that the worker goes away."""


Admit = Callable[[int, object, int, int], Admitted | None]
"""Begins a connection that may come in, which owns the descriptor then; None if that has failed.

It is given the descriptor, an address or origin, and the numbers of the listener and the claim."""


class Admission:
    """Lets connections in, at once or when their proxy has said whose they are, or refuses them.

    What follows a header stays in the kernel for the connection: a header is looked at first
    (recv(2), MSG_PEEK), and then exactly its bytes are taken. All that wait have the same time, so
    they are late in the order in which they came, and one timer serves them all. While all places
    are taken they have less time.

    Args:
        rules: who may come in, by listener number.
        admit: begins a connection that may come in.
        loop: the worker's loop.
        refusals: closes what is refused, counts and tells it.
        capacity: told when as many wait as may.
        pending: those that wait, in the order in which they came; filled here.
        limits: how long they may wait, and how many.

    Attributes:
        tls: makes the handshakes of listeners that have TLS; None if there are none.
    """

    def __init__(
        self,
        rules: Sequence[AccessRules],
        admit: Admit,
        loop: Loop,
        refusals: Refusals,
        capacity: Capacity,
        pending: dict[PendingConnection, None],
        limits: Limits,
    ) -> None:
        self.tls: TlsSetup | None = None
        self._rules, self._admit, self._loop, self._refusals = rules, admit, loop, refusals
        self._capacity, self._pending, self._limits = capacity, pending, limits
        self._times = PendingTimes(pending, limits, loop, self._refuse_late)
        self._deadline: float | None = None

    def begin(self, fd: int, address: object, listener: int, claim: int) -> None:
        """Take over a descriptor that was accepted, and let it in, refuse it, or wait."""
        rules = self._rules[listener]
        host = address[0] if isinstance(address, tuple) else None
        if rules.admit_all:
            self._let_in_peer(fd, address, listener, claim, host)
        elif rules.is_proxy(host):
            connection = self._pending_of(fd, address, listener, claim)
            self._wait(
                connection, lambda: self._loop.add(fd, READ, lambda _: self._look(connection))
            )
        elif rules.versions and rules.others_are_refused:
            why = "it is no proxy of proxy_from, and proxy_others is refuse"
            self._refusals.refuse(fd, listener, DENIED, describe(address), why)
        elif host is not None and not rules.admits(host):
            why = "allow and deny do not admit it"
            self._refusals.refuse(fd, listener, DENIED, describe(address), why)
        else:
            self._let_in_peer(fd, address, listener, claim, host)

    def is_full(self) -> bool:
        """Tell whether as many wait as may: those that have a place."""
        return self._times.is_full

    def begin_to_drain(self, deadline: float) -> None:
        """Tell connections that come in from now on that the worker goes away.

        What waits at the deadline is refused.
        """
        self._deadline = deadline
        self._loop.call_at(deadline, self._refuse_all)

    def _let_in_peer(
        self, fd: int, address: object, listener: int, claim: int, host: str | None
    ) -> None:
        """Let a peer in that is a client itself; one without an IP address may count as a user."""
        clients = self._rules[listener].clients
        if host is None and clients is not None and clients.by_uid:
            found = origin(address, fd)
            self._let_in(fd, found, listener, claim, found.uid)
        else:
            self._let_in(fd, address, listener, claim, host)

    def _let_in(
        self, fd: int, address: object, listener: int, claim: int, client: str | int | None
    ) -> None:
        """Let a connection in, after its handshake if it has one, unless its client has too many.

        Args:
            fd: its descriptor.
            address: an address as accept(2) has returned it, or an origin.
            listener: the number of its listener.
            claim: the number of its claim.
            client: the IP address of its client, or the number of a user; None for who is not
                counted: a proxy itself, and the peers of a Unix socket.
        """
        exceeded = self._exceeded(fd, listener, client)
        if exceeded is not None:
            peer = address.peer if isinstance(address, ConnectionOrigin) else describe(address)
            self._refusals.refuse(fd, listener, exceeded[0], peer, exceeded[1])
        elif self._has_tls(listener):
            connection = self._pending_of(fd, address, listener, claim)
            self._wait(connection, lambda: self._begin_handshake(connection), speaks_first=True)
        else:
            self._begin(fd, address, listener, claim)

    def _exceeded(self, fd: int, listener: int, client: str | int | None) -> tuple[int, str] | None:
        """Count a connection of a client; return why it is refused, None if it is not."""
        limit = self._rules[listener].clients
        if limit is None or client is None:
            return None
        cause = limit.refusal(fd, client)
        return None if cause is None else (cause, limit.why(cause, client))

    def _begin(self, fd: int, address: object, context: int, claim: int) -> None:
        admitted = self._admit(fd, address, context, claim)
        if admitted is not None and self._deadline is not None:
            admitted.drain(self._deadline)

    def _pending_of(self, fd: int, address: object, listener: int, claim: int) -> PendingConnection:
        due = self._loop.now + self._limits.admission_seconds
        return PendingConnection(socket.socket(fileno=fd), address, listener, claim, due)

    def _wait(
        self,
        connection: PendingConnection,
        watch: Callable[[], object],
        *,
        speaks_first: bool = False,
    ) -> None:
        """Wait for what a connection sends, within the time for it."""
        try:
            watch()
        except OSError as error:  # ENOSPC or ENOMEM (epoll_ctl(2))
            fd, listener = connection.sock.detach(), connection.listener
            self._refusals.refuse(fd, listener, GONE, connection.peer, reason(error))
            return
        self._pending[connection] = None
        self._times.begin()
        if not speaks_first:
            self._place(connection)

    def _place(self, connection: PendingConnection) -> bool:
        """Give a place to a connection; return whether it has one."""
        has_place = self._times.place(connection)
        if self.is_full():
            self._capacity.fill()
        return has_place

    def _look(self, connection: PendingConnection) -> None:
        """Look at what has come, and take as much of it as belongs to the header."""
        try:
            data = connection.sock.recv(MAX_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:  # a reset
            data = b""
        if not data:
            probe = connection.parsed is not None
            self._refuse(connection, PROBES if probe else GONE, _GONE)
        elif connection.parsed is not None:
            self._end_wait(connection, connection.parsed)
        else:
            self._parse(connection, data)

    def _parse(self, connection: PendingConnection, data: bytes) -> None:
        rules, known = self._rules[connection.listener], len(connection.data)
        assert rules.versions is not None
        try:
            parsed = parse(connection.data + data, rules.versions, connection.peer)
        except ProxyHeaderError as error:
            self._refuse(connection, BAD_PROXY, f"what it sends is no PROXY header: {error}")
            return
        if not connection.take(len(data) if parsed is None else parsed.size - known):
            self._refuse(connection, GONE, _GONE)
        elif parsed is None:
            connection.data += data
        elif not self._admits(connection, parsed):
            who = "" if parsed.header.source is None else f" its client {parsed.header.source}"
            self._refuse(connection, DENIED, f"allow and deny do not admit{who or ' it'}")
        elif parsed.header.local:
            # A probe ends now and says nothing. Who waits for a greeting does neither.
            connection.parsed = parsed
            self._soon(connection, lambda: self._end_wait(connection, parsed))
        else:
            self._end_wait(connection, parsed)

    def _soon(self, connection: PendingConnection, let_in: Callable[[], object]) -> None:
        """Let in, in a moment, what is a probe if it ends before without a word."""
        now = self._loop.now
        self._loop.call_at(min(now + _PROBE_SECONDS, (now + connection.due) / 2), let_in)

    def _admits(self, connection: PendingConnection, parsed: Parsed) -> bool:
        """Tell whether a client may come in; where none is named, whether its proxy may."""
        host = parsed.host
        if host is None:
            if not isinstance(connection.address, tuple):
                return True
            host = connection.address[0]
        return self._rules[connection.listener].admits(host)

    def _end_wait(self, connection: PendingConnection, parsed: Parsed) -> None:
        """Go on with a connection whose proxy has said whose it is, unless it has gone.

        One that names no client comes here twice: with its first byte, and in a moment.
        """
        if connection not in self._pending or connection.handshake is not None:
            return
        header, fd, listener = parsed.header, connection.sock.fileno(), connection.listener
        client = None
        if header.source is None:
            found = replace(origin(connection.address, fd), proxy=header)
        else:
            client = parsed.host
            found = ConnectionOrigin(header.source, client, parsed.port, proxy=header)
        connection.address = found
        exceeded = self._exceeded(fd, listener, client)
        if exceeded is not None:
            self._refuse(connection, *exceeded)
        elif self._has_tls(listener):
            self._loop.remove(fd)
            try:
                self._begin_handshake(connection)
            except OSError as error:  # ENOSPC or ENOMEM (epoll_ctl(2))
                self._refuse(connection, GONE, reason(error))
        else:
            self._forget(connection)
            self._begin(connection.sock.detach(), found, listener, connection.claim)

    def _has_tls(self, listener: int) -> bool:
        return self.tls is not None and listener in self.tls

    def _begin_handshake(self, connection: PendingConnection) -> None:
        assert self.tls is not None
        fd, listener = connection.sock.fileno(), connection.listener
        handshake = self.tls.handshake(
            fd,
            listener,
            lambda why: self._shaken(connection, why),
            lambda: self._place(connection),
        )
        connection.handshake = handshake
        handshake.begin()

    def _shaken(self, connection: PendingConnection, why: str | None) -> None:
        """Let a connection in whose handshake is done, or refuse it."""
        if why != "":
            self._refuse(connection, GONE if why is None else BAD_TLS, why or _GONE)
        elif connection.parsed is None:
            self._end_handshake(connection)
        else:
            self._wait_for_word(connection)

    def _wait_for_word(self, connection: PendingConnection) -> None:
        """Wait whether a proxy's own connection is a probe, of which the handshake was all."""
        try:
            self._loop.add(connection.sock.fileno(), READ, lambda _: self._hear(connection))
        except OSError as error:  # ENOSPC or ENOMEM (epoll_ctl(2))
            self._refuse(connection, GONE, reason(error))
            return
        self._soon(connection, lambda: self._end_handshake(connection))
        self._hear(connection)  # what came with the end of the handshake is not in the kernel

    def _hear(self, connection: PendingConnection) -> None:
        assert connection.handshake is not None
        session = connection.handshake.session
        assert session is not None
        has_spoken = session.has_spoken(connection.sock.fileno())
        if has_spoken:
            self._end_handshake(connection)
        elif has_spoken is False:
            self._refuse(connection, PROBES, _GONE)

    def _end_handshake(self, connection: PendingConnection) -> None:
        """Let a connection with TLS in, unless it has gone."""
        if self._forget(connection):
            assert self.tls is not None
            assert connection.handshake is not None
            fd, session = connection.sock.detach(), connection.handshake.session
            assert session is not None
            number, found = self.tls.begin(fd, session, connection.listener, connection.address)
            self._begin(fd, found, number, connection.claim)

    def _refuse(self, connection: PendingConnection, cause: int, why: str) -> None:
        if self._forget(connection):
            fd, listener = connection.sock.detach(), connection.listener
            told = connection.handshake is not None and connection.handshake.has_told
            refuse = self._refusals.refuse_told if told else self._refusals.refuse
            refuse(fd, listener, cause, connection.peer, why)

    def _forget(self, connection: PendingConnection) -> bool:
        """Wait no longer for a connection; return whether it still waited."""
        if self._pending.pop(connection, self) is self:
            return False
        if connection.handshake is not None:
            connection.handshake.end()
        self._loop.remove(connection.sock.fileno())
        self._times.leave(connection)
        if not self.is_full():
            self._capacity.empty()
        return True

    def _refuse_late(self, connection: PendingConnection, why: str) -> None:
        self._refuse(connection, LATE, why)

    def _refuse_all(self) -> None:
        for connection in list(self._pending):
            self._refuse(connection, LATE, "its worker has ended")
