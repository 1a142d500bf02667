"""Connections that go on with TLS in the middle: their handshakes, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from host.interfaces import CloseReason
from host.ipc.scoreboard import BAD_TLS, GONE, LATE
from host.net.sockets import reset_on_close
from host.runtime.loop import Loop, TimerHandle
from host.settings import nearest
from host.text import listed, reason, suggest
from host.tls.session import Session
from host.tls.sockets import TlsSockets
from host.tls.tables import TlsContexts
from host.worker.context import ListenerContext
from host.worker.handshakes import Handshake, Step
from host.worker.refusals import Refusals
from host.worker.start_tls import handshaking


@dataclass(slots=True, kw_only=True)
class Upgrading:
    """What all upgrades of a worker need.

    Attributes:
        tables: what sessions are made with.
        step_of: returns what computes the steps of handshakes for the NAME of a table.
        loop: the worker's loop.
        sockets: the sessions of the worker.
        seconds: the time for a handshake.
        wrap: makes the context for TLS of one for plain text.
        refusals: counts those that fail, and tells of them.
    """

    tables: TlsContexts
    step_of: Callable[[str], Step]
    loop: Loop
    sockets: TlsSockets
    seconds: float
    wrap: Callable[[ListenerContext], ListenerContext]
    refusals: Refusals | None = None


class Upgrades:
    """The upgrades of all connections with one context.

    Args:
        plain: that context; its `start_tls` leads here from now on.
        contexts: those of the worker; what is made here is added.
        parts: what all upgrades of the worker need.

    Attributes:
        parts: the same.
        under_way: the upgrades whose handshake is under way, by descriptor.
    """

    def __init__(
        self, plain: ListenerContext, contexts: list[ListenerContext], parts: Upgrading
    ) -> None:
        self._plain, self._contexts, self.parts = plain, contexts, parts
        self.under_way: dict[int, Upgrade] = {}
        plain.start_tls = self._prepare

    @cached_property
    def handshaking(self) -> ListenerContext:
        """The context for the time of the handshake; descriptors are closed without a word."""
        plain = self._plain
        context = replace(handshaking(plain), reset=self._reset, close=self._closing(plain.close))
        self._contexts.append(context)
        return context

    @cached_property
    def with_tls(self) -> ListenerContext:
        """The context for what follows."""
        context = self.parts.wrap(self._plain)
        self._contexts.append(context)
        return context

    def _prepare(self, connection: Any, name: str, unread: bytes) -> Callable[[], object]:
        """Return what begins the upgrade of a connection.

        Raises:
            ValueError: the settings have no such table.
        """
        tables = self.parts.tables.tables
        if name not in tables:
            there = listed(f"[tls.{each}]" for each in tables)
            raise ValueError(
                f'start_tls("{name}"): the settings have no table [tls.{name}]'
                f"{suggest(nearest(name, tables))}; there is: {there}"
            )
        return Upgrade(connection, name, bytes(unread), self).begin

    def _reset(self, fd: int) -> None:
        """Have the peer see a reset, unless it has been sent why the handshake has failed."""
        if not self.under_way[fd].has_told:
            reset_on_close(fd)

    def _closing(self, close: Callable[[int], None]) -> Callable[[int], None]:
        def end_and_close(fd: int) -> None:
            self.under_way.pop(fd).end()
            close(fd)

        return end_and_close


class Upgrade:
    """The handshake of one connection that has begun in plain text.

    Args:
        connection: the connection.
        name: the NAME of the table.
        unread: what its plugin has read too much: the first bytes of the handshake.
        upgrades: those of its context.

    Attributes:
        has_told: whether the handshake has failed, and the peer has been sent why.
    """

    __slots__ = (
        "_connection",
        "_ended",
        "_handshake",
        "_name",
        "_timer",
        "_unread",
        "_upgrades",
        "has_told",
    )

    def __init__(self, connection: Any, name: str, unread: bytes, upgrades: Upgrades) -> None:
        self._connection, self._name, self._unread = connection, name, unread
        self._upgrades, self._ended, self.has_told = upgrades, False, False
        self._handshake: Handshake | None = None
        self._timer: TimerHandle | None = None

    def begin(self) -> None:
        """Have nothing sent in plain text any more; the handshake begins in the next turn.

        This is called within handlers and sends, in which the connection cannot end.
        """
        upgrades = self._upgrades
        upgrades.under_way[self._connection.fileno()] = self
        self._connection.use(upgrades.handshaking)
        upgrades.parts.loop.call_from_thread(self._start)

    def end(self) -> None:
        """Do nothing any more: the descriptor is about to be used or closed by somebody else."""
        self._ended = True
        handshake, self._handshake = self._handshake, None  # which knows this object, too
        if handshake is not None:
            handshake.end()
            self.has_told = handshake.has_told
        if self._timer is not None:
            self._timer.cancel()

    def _start(self) -> None:
        if self._ended:
            return
        parts, name = self._upgrades.parts, self._name
        front = parts.tables.named(name).front
        handshake = Handshake(
            self._connection.fileno(),
            lambda: Session(front),
            parts.loop,
            parts.step_of(name),
            frozenset(),
            self._shaken,
        )
        self._handshake = handshake
        self._timer = parts.loop.call_at(parts.loop.now + parts.seconds, self._late)
        try:
            handshake.begin(self._unread)
        except OSError as error:  # ENOSPC or ENOMEM (epoll_ctl(2))
            self._fail(GONE, reason(error), CloseReason.RESET)

    def _shaken(self, why: str | None) -> None:
        """Go on with a session, or end the connection whose handshake has failed."""
        if why is None:
            self._fail(GONE, "its peer has gone", CloseReason.TRUNCATED)
        elif why:
            self._fail(BAD_TLS, why, CloseReason.TLS_FAILED)
        else:
            assert self._handshake is not None
            fd, session = self._connection.fileno(), self._handshake.session
            assert session is not None
            upgrades = self._upgrades
            self.end()
            del upgrades.under_way[fd]
            upgrades.parts.sockets.adopt(fd, session)
            self._connection.go_on_with_tls(upgrades.with_tls, session.info())

    def _late(self) -> None:
        seconds = self._upgrades.parts.seconds
        why = f"its TLS handshake was not done after {seconds:g} s"
        self._fail(LATE, why, CloseReason.TLS_FAILED)

    def _fail(self, cause: int, why: str, end: CloseReason) -> None:
        self.end()
        connection, refusals = self._connection, self._upgrades.parts.refusals
        assert refusals is not None
        refusals.count(connection.listener.index, cause, connection.peer, why)
        connection.give_up(end)
