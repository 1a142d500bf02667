"""How a connection that began in plain text goes on with TLS: RFC 3207 for SMTP, and its likes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from host.hookspecs import on_tls
from host.interfaces import CloseReason, ConnectionOrigin, TlsInfo
from host.ipc.current_call import kind_of
from host.runtime.loop import Handler, PollerFor
from host.worker.backlog import FilesBacklog, Mark
from host.worker.context import ListenerContext
from host.worker.doing import DoingPart
from host.worker.sending import NO_EVENT

_ON_TLS = kind_of(on_tls)


class _NotWatching(PollerFor):
    """A loop that watches no descriptor: during a handshake that is for others to do."""

    def add(self, _fd: int, _events: int, _handler: Handler) -> None:
        """Do not watch it."""

    def modify(self, _fd: int, _events: int) -> None:
        """Do not watch it."""

    def remove(self, _fd: int) -> None:
        """Do not watch it, as before."""


def _blocked(*_: object) -> int:
    """Send nothing, as if there were no room for it."""
    raise BlockingIOError


def handshaking(plain: ListenerContext) -> ListenerContext:
    """Return the context for the time of a handshake: nothing is read, sent or watched."""
    return replace(
        plain,
        loop=_NotWatching(plain.loop),
        write=_blocked,
        write_pieces=_blocked,
        send_file=_blocked,
    )


def has_tls_already(_connection: Any, _name: str, _unread: bytes) -> Callable[[], object]:
    """Refuse to begin TLS within TLS.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("start_tls() was called for a connection that has TLS already")


class StartTlsPart(DoingPart):
    """The step from plain text to TLS, in the middle of a connection.

    Whether it has TLS is a question of its context alone: there is one for plain text, one for the
    handshake, in which nothing can be read, sent or watched, and one for TLS. What is written
    during the handshake is unsent, as if the kernel had no room, and so it waits for the session.
    """

    __slots__ = ("_address",)

    _address: Any  # as accept(2) has returned it, or an origin

    @property
    def origin(self) -> ConnectionOrigin:
        """All that is known of the client."""
        raise NotImplementedError

    def start_tls(self, name: str, unread: bytes = b"") -> None:
        """Go on with TLS once all that is queued is sent; read nothing before.

        A handler that is being called has the context of plain text in its hands, and would send a
        first piece with it (see `on_event`). So there is a list of pieces from now on, without any
        in it: what the handler still writes goes there, and `flush` asks for the context anew.
        """
        if self.closed:
            return
        begin = self._context.start_tls(self, name, unread)
        if self.eof:
            self.finish(CloseReason.PEER_FINISHED)
            return
        if not self._room:
            raise RuntimeError("start_tls() was called already: its handshake is not done yet")
        self._room = 0
        self.last_active = self._context.loop.now
        self.flush()
        if self._closing is not None:  # what was queued could not be sent
            return
        self._first, self._plain, self._attention = b"", NO_EVENT, True
        self._context.touched.append(self)
        unsent = self._unsent
        if unsent is None:
            self._pieces = []
            begin()
        else:
            backlog = unsent if isinstance(unsent, FilesBacklog) else FilesBacklog(unsent)
            backlog.append_mark(Mark(begin))
            self._unsent = backlog

    def use(self, context: ListenerContext) -> None:
        """Go on with another context; its loop watches nothing of this one yet."""
        if self._mask:
            self._context.loop.remove(self._fd)
            self._mask = 0
        self._context, self._plain, self._attention = context, NO_EVENT, True

    def go_on_with_tls(self, context: ListenerContext, info: TlsInfo) -> None:
        """Go on with a session: read again, send what was written meanwhile, and tell the plugin.

        A connection that is closing only sends what it has.

        Args:
            context: what connections with TLS share.
            info: what was agreed on.
        """
        self.use(context)
        self._address = replace(self.origin, tls=info)
        now = context.loop.now
        if self._unsent is not None:
            context.stalled[self] = now  # until now it was not the peer that took nothing
        if self._closing is None:
            self._room, self.last_active = context.few, now
            if not self._handle(_ON_TLS, context.on_tls):
                self.finish(CloseReason.PLUGIN_FAILED)
        self.follow_up()
