"""Readies a worker for the listeners that have TLS."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from host.interfaces import Listener
from host.net.sockets import LateOrigin, reset_on_close
from host.runtime.loop import Loop
from host.settings import Settings
from host.tls.contexts import ServerContext
from host.tls.session import Session
from host.tls.sockets import TlsSockets
from host.tls.tables import TlsContexts
from host.worker.backlog import Farewell
from host.worker.context import ListenerContext
from host.worker.handshakes import Handshake, LoopSteps, Step, ThreadedSteps
from host.worker.refusals import Refusals
from host.worker.start_tls import has_tls_already
from host.worker.upgrades import Upgrades, Upgrading


class _TlsListener(NamedTuple):
    """What there is for one listener.

    Attributes:
        server: makes sessions.
        step: has the steps of handshakes computed.
        plugins: the names of plugins by the protocol that clients can ask for.
        protocols: the numbers of their contexts, once there are any.
        names: the same protocols, as clients name them.
    """

    server: ServerContext
    step: Step
    plugins: dict[str, str]
    protocols: dict[str, int]
    names: frozenset[bytes]


def _new_session(server: ServerContext) -> Session:
    return Session(server.front)  # the present one: it may have been replaced


class TlsSetup:
    """The TLS of a worker: makes handshakes, and has connections read and write by sessions.

    Args:
        tables: what sessions are made with.
        settings: the settings of the host.
        loop: the worker's loop.
        counting: has what connections of a context read and send counted, if it is to be.
    """

    def __init__(
        self,
        tables: TlsContexts,
        settings: Settings,
        loop: Loop,
        counting: Callable[[ListenerContext], ListenerContext] = lambda context: context,
    ) -> None:
        self._loop, self._counting = loop, counting
        self._sockets = TlsSockets(loop, reset_on_close)
        threaded, on_loop = ThreadedSteps(loop), LoopSteps(loop)

        def step_of(name: str) -> Step:
            return threaded if tables.tables[name].handshakes == "thread" else on_loop

        self._upgrading = Upgrading(
            tables=tables,
            step_of=step_of,
            loop=loop,
            sockets=self._sockets,
            seconds=settings.limits.admission_seconds,
            wrap=self._wrap,
        )
        self._listeners = {}
        for number, listen in enumerate(settings.listen):
            server = tables.of(listen)
            if server is None:
                continue
            names = frozenset(each.encode() for each in listen.alpn)
            step = step_of(listen.tls)
            self._listeners[number] = _TlsListener(server, step, listen.alpn, {}, names)

    def __contains__(self, listener: int) -> bool:
        return listener in self._listeners

    def take_over(
        self, contexts: list[ListenerContext], make: Callable[[Listener], ListenerContext]
    ) -> None:
        """Have connections with TLS use their sessions, and let others begin it when they want.

        Args:
            contexts: those of all listeners, which are replaced; those of the plugins that clients
                can ask for (RFC 7301) are added.
            make: makes the context of a listener.
        """
        for context in (each for each in tuple(contexts) if each.listener.index not in self):
            Upgrades(context, contexts, self._upgrading)
        for number, known in self._listeners.items():
            contexts[number] = self._wrap(contexts[number])
            for protocol, plugin in known.plugins.items():
                known.protocols[protocol] = len(contexts)
                contexts.append(self._wrap(make(replace(contexts[number].listener, plugin=plugin))))

    def _wrap(self, context: ListenerContext) -> ListenerContext:
        sockets = self._sockets
        with_tls = replace(
            context,
            loop=sockets,
            read=sockets.read,
            read_into=sockets.read_into,
            write=sockets.write,
            write_pieces=sockets.write_pieces,
            send_file=sockets.send_file,
            close=sockets.closing(context.close),
            farewell=self._farewell,
            reset=sockets.reset,
            reason_of=sockets.reason_of,
            start_tls=has_tls_already,
            tls_object=sockets.object_of,
        )
        return self._counting(with_tls)

    def _farewell(self, fd: int) -> Farewell | None:
        """Say that nothing more is sent; return what waits of that."""
        return None if self._sockets.finish(fd) else Farewell(self._sockets.flush)

    def tell_refusals(self, refusals: Refusals) -> None:
        """Have handshakes counted that fail in the middle of a connection."""
        self._upgrading.refusals = refusals

    def handshake(
        self,
        fd: int,
        listener: int,
        tell: Callable[[str | None], object],
        may_begin: Callable[[], bool] = lambda: True,
    ) -> Handshake:
        """Return the handshake of a new connection; see there for `tell` and `may_begin`."""
        known = self._listeners[listener]
        make = functools.partial(_new_session, known.server)
        return Handshake(fd, make, self._loop, known.step, known.names, tell, may_begin)

    def begin(
        self, fd: int, session: Session, listener: int, address: object
    ) -> tuple[int, LateOrigin]:
        """Use a session for a descriptor from now on.

        Returns:
            The number of the context for its protocol, and what is known of the client.
        """
        self._sockets.adopt(fd, session)
        protocols, number = self._listeners[listener].protocols, listener
        if protocols:
            number = protocols.get(session.alpn or "", listener)
        return number, LateOrigin(address, session)
