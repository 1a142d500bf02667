"""What comes between accept() and `on_accept`: who may come in, and what a proxy says first.

A connection that waits here has been accepted and counts as active. Plugins do not know of it, so
one that is refused has no `on_accept` and no `on_close`.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from host.interfaces import ConnectionOrigin
from host.ipc.scoreboard import BAD_PROXY, DENIED, GONE, LATE, PROBES
from host.net.networks import Networks
from host.net.proxy_protocol import MAX_BYTES, Parsed, ProxyHeaderError, parse
from host.net.sockets import describe, origin
from host.runtime.loop import READ, Loop
from host.settings import Listen
from host.settings.models import Limits
from host.text import reason
from host.worker.capacity import Capacity
from host.worker.refusals import Refusals

_PROBE_SECONDS = 0.1
"""How long a connection that names no client is taken for a probe, which ends without a word."""
_SILENT_PROXY = (
    "some send it with the first bytes of their client only, which may wait for a greeting: an"
    " NLB of AWS does, unless its attribute proxy_protocol_v2.client_to_server.header_placement"
    " is on_first_ack"
)
_VERSIONS = {"v1": frozenset({1}), "v2": frozenset({2}), "any": frozenset({1, 2})}


class Admitted(Protocol):
    """A connection that was let in."""

    def drain(self, deadline: float) -> None:
        """Tell its plugin that the worker goes away."""


class Admit(Protocol):
    """Begins connections that may come in."""

    def __call__(self, fd: int, address: object, listener: int, claim: int, /) -> Admitted | None:
        """Begin one, which owns the descriptor from now on; None if that has failed."""


class AccessRules:
    """Who may come in at one listener.

    Args:
        listen: the listener's settings.
    """

    def __init__(self, listen: Listen) -> None:
        self._allow, self._deny = Networks(listen.allow), Networks(listen.deny)
        self._proxies = Networks(each for each in listen.proxy_from if each != "unix")
        self._unix_proxies = "unix" in listen.proxy_from
        self.versions = _VERSIONS.get(listen.proxy)
        self.others_are_refused = listen.proxy_others == "refuse"

    @property
    def is_open(self) -> bool:
        """Whether everybody may come in at once."""
        return not (self._allow or self._deny or self.versions)

    def admits(self, host: str) -> bool:
        """Tell whether a client with this IP address may come in."""
        if self._deny and host in self._deny:
            return False
        return not self._allow or host in self._allow

    def is_proxy(self, host: str | None) -> bool:
        """Tell whether a peer is a proxy, which says first whose connection it is."""
        if self.versions is None:
            return False
        return self._unix_proxies if host is None else host in self._proxies


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
    """

    sock: socket.socket
    address: object
    listener: int
    claim: int
    due: float
    data: bytes = b""
    parsed: Parsed | None = None

    @property
    def peer(self) -> str:
        """The other end as text."""
        return describe(self.address)


class Admission:
    """Lets connections in, at once or when their proxy has said whose they are, or refuses them.

    What follows a header stays in the kernel for the connection: a header is looked at first
    (recv(2), MSG_PEEK), and then exactly its bytes are taken. All that wait have the same time, so
    they are late in the order in which they came, and one timer serves them all.

    Args:
        rules: who may come in, by listener number.
        admit: begins a connection that may come in.
        loop: the worker's loop.
        refusals: closes what is refused, counts and tells it.
        capacity: told when as many wait as may.
        arrivals: those that wait, in the order in which they came; filled here.
        limits: how long they may wait, and how many.
    """

    def __init__(
        self,
        rules: Sequence[AccessRules],
        admit: Admit,
        loop: Loop,
        refusals: Refusals,
        capacity: Capacity,
        arrivals: dict[PendingConnection, None],
        limits: Limits,
    ) -> None:
        self._rules, self._admit, self._loop, self._refusals = rules, admit, loop, refusals
        self._capacity, self._arrivals, self._limits = capacity, arrivals, limits
        self._is_timed = False
        self._deadline: float | None = None

    def begin(self, fd: int, address: object, listener: int, claim: int) -> None:
        """Take over a descriptor that was accepted, and let it in, refuse it, or wait."""
        rules = self._rules[listener]
        host = address[0] if isinstance(address, tuple) else None
        if rules.is_proxy(host):
            self._wait(fd, address, listener, claim)
        elif rules.versions and rules.others_are_refused:
            why = "it is no proxy of proxy_from, and proxy_others is refuse"
            self._refusals.refuse(fd, listener, DENIED, describe(address), why)
        elif host is not None and not rules.admits(host):
            why = "allow and deny do not admit it"
            self._refusals.refuse(fd, listener, DENIED, describe(address), why)
        else:
            self._let_in(fd, address, listener, claim)

    def is_full(self) -> bool:
        """Tell whether as many wait as may."""
        return len(self._arrivals) >= self._limits.max_admissions_per_worker

    def begin_to_drain(self, deadline: float) -> None:
        """Tell connections that come in from now on that the worker goes away.

        What waits at the deadline is refused.
        """
        self._deadline = deadline
        self._loop.call_at(deadline, self._refuse_all)

    def _let_in(self, fd: int, address: object, listener: int, claim: int) -> None:
        connection = self._admit(fd, address, listener, claim)
        if connection is not None and self._deadline is not None:
            connection.drain(self._deadline)

    def _wait(self, fd: int, address: object, listener: int, claim: int) -> None:
        due = self._loop.now + self._limits.admission_seconds
        arrival = PendingConnection(socket.socket(fileno=fd), address, listener, claim, due)
        try:
            self._loop.add(fd, READ, lambda _mask: self._look(arrival))
        except OSError as error:  # ENOSPC or ENOMEM (epoll_ctl(2))
            arrival.sock.detach()
            self._refusals.refuse(fd, listener, GONE, arrival.peer, reason(error))
            return
        self._arrivals[arrival] = None
        if self.is_full():
            self._capacity.fill()
        if not self._is_timed:
            self._is_timed = True
            self._loop.call_at(due, self._refuse_late)

    def _look(self, arrival: PendingConnection) -> None:
        """Look at what has come, and take as much of it as belongs to the header."""
        try:
            data = arrival.sock.recv(MAX_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:  # a reset
            data = b""
        if not data:
            probe = arrival.parsed is not None
            self._refuse(arrival, PROBES if probe else GONE, "its peer has gone")
        elif arrival.parsed is not None:
            self._end_wait(arrival, arrival.parsed)
        else:
            self._parse(arrival, data)

    def _parse(self, arrival: PendingConnection, data: bytes) -> None:
        rules, known = self._rules[arrival.listener], len(arrival.data)
        assert rules.versions is not None
        try:
            parsed = parse(arrival.data + data, rules.versions, arrival.peer)
        except ProxyHeaderError as error:
            self._refuse(arrival, BAD_PROXY, f"what it sends is no PROXY header: {error}")
            return
        arrival.sock.recv(len(data) if parsed is None else parsed.size - known)
        if parsed is None:
            arrival.data += data
        elif not self._admits(arrival, parsed):
            who = "" if parsed.header.source is None else f" its client {parsed.header.source}"
            self._refuse(arrival, DENIED, f"allow and deny do not admit{who or ' it'}")
        elif parsed.header.local:
            # A probe ends now and says nothing. Who waits for a greeting does neither.
            arrival.parsed = parsed
            now = self._loop.now
            later = min(now + _PROBE_SECONDS, (now + arrival.due) / 2)
            self._loop.call_at(later, lambda: self._end_wait(arrival, parsed))
        else:
            self._end_wait(arrival, parsed)

    def _admits(self, arrival: PendingConnection, parsed: Parsed) -> bool:
        """Tell whether a client may come in; where none is named, whether its proxy may."""
        host = parsed.host
        if host is None:
            if not isinstance(arrival.address, tuple):
                return True
            host = arrival.address[0]
        return self._rules[arrival.listener].admits(host)

    def _end_wait(self, arrival: PendingConnection, parsed: Parsed) -> None:
        """Let a connection in that has waited, unless it has gone meanwhile."""
        if not self._forget(arrival):
            return
        header, fd = parsed.header, arrival.sock.detach()
        if header.source is None:
            found = replace(origin(arrival.address, fd), proxy=header)
        else:
            found = ConnectionOrigin(header.source, parsed.host, parsed.port, proxy=header)
        self._let_in(fd, found, arrival.listener, arrival.claim)

    def _refuse(self, arrival: PendingConnection, cause: int, why: str) -> None:
        if self._forget(arrival):
            fd, listener = arrival.sock.detach(), arrival.listener
            self._refusals.refuse(fd, listener, cause, arrival.peer, why)

    def _forget(self, arrival: PendingConnection) -> bool:
        """Wait no longer for a connection; return whether it still waited."""
        if self._arrivals.pop(arrival, self) is self:
            return False
        self._loop.remove(arrival.sock.fileno())
        if not self.is_full():
            self._capacity.empty()
        return True

    def _refuse_late(self) -> None:
        """Refuse those whose time is up, and wait for the next one's."""
        for arrival in list(self._arrivals):
            if arrival.due > self._loop.now:
                self._loop.call_at(arrival.due, self._refuse_late)
                return
            self._refuse(arrival, LATE, self._why_late(arrival))
        self._is_timed = False

    def _why_late(self, arrival: PendingConnection) -> str:
        seconds = f"{self._limits.admission_seconds:g} s"
        if arrival.data:
            return f"its PROXY header was not whole after {seconds}"
        return f"it has sent no PROXY header for {seconds}; {_SILENT_PROXY}"

    def _refuse_all(self) -> None:
        for arrival in list(self._arrivals):
            self._refuse(arrival, LATE, "its worker has ended")
