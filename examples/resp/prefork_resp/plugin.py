"""The plugin: cuts the requests of Redis clients, and has them answered in their order."""

from __future__ import annotations

import time
from importlib.metadata import version
from itertools import count

from pydantic import BaseModel, ConfigDict, Field

from host import Connection, Counter, Gauge, Host, Worker, hookimpl
from host.plugins.framing import FrameSyntaxError, FrameTooLongError, RespFramer
from prefork_resp.clients import Clients
from prefork_resp.commands import Commands, answer
from prefork_resp.keys import Keys
from prefork_resp.messages import Messages
from prefork_resp.replies import error
from prefork_resp.server import Server
from prefork_resp.session import Session, Words
from prefork_resp.store import Store
from prefork_resp.strings import Strings

_SHARE_SECONDS = 0.001
"""How long requests of one client are answered before the others get their turn."""
_NO_REQUEST = (FrameSyntaxError, FrameTooLongError)
_SWEEP_SECONDS = 0.1
_NUMBERS_PER_PROCESS = 1_000_000_000


class Options(BaseModel):
    """The section `[options.resp]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: bool = Field(
        default=True,
        description="Whether there are keys, which needs a host with one worker. If not, messages"
        " are passed on between the clients of any number of workers.",
    )
    max_bytes: int = Field(
        default=268_435_456,
        ge=1_048_576,
        description="Bytes that all keys and values may take. Beyond it nothing more is stored"
        " until something is deleted or expires, as with noeviction in Redis.",
    )
    max_request_bytes: int = Field(
        default=1_048_576,
        ge=64,
        description="Longest request, the sum of its words. While a request arrives it is kept for"
        " its connection, so this times the number of connections is what clients can make a"
        " worker hold besides.",
    )
    max_words: int = Field(
        default=65_536, ge=16, description="Most words of a request, the command's name included."
    )


class Resp:
    """The protocol plugin."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._answered: Counter
        self._keys: Gauge
        self._stored: Gauge
        self._numbers = count(1)
        self._store = Store(options.max_bytes, time.time)
        self._messages = Messages()
        of_ours = version("prefork-resp").encode()
        self._server = Server(of_ours, self._store, options.max_bytes)
        groups = [Clients(of_ours, self._messages.forget), self._messages, self._server]
        if options.keys:
            groups += [Strings(self._store), Keys(self._store)]
        self._commands = Commands([group.table() for group in groups])
        self._server.describe(self._commands.every)

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        """Refuse to have keys in several workers; declare what is counted."""
        if self._options.keys and host.workers > 1:
            raise RuntimeError(
                f"resp keeps its keys in one worker, and {host.workers} are configured: each would"
                " have keys of its own, and clients would miss what others have stored. Start the"
                " host with --workers 1, or set options.resp.keys to false to pass on messages only"
            )
        metrics = host.metrics
        self._answered = metrics.counter("requests", "Requests that were answered.")
        self._messages.published = metrics.counter(
            "published_messages", "Messages that clients published."
        )
        self._messages.delivered = metrics.counter(
            "delivered_messages", "Messages that clients were sent."
        )
        if self._options.keys:
            self._keys = metrics.gauge("keys", "Keys that are stored.")
            self._stored = metrics.gauge("stored_bytes", "Memory that keys and values take.")

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        """Begin to hear the other workers, and to remove what has expired."""
        self._numbers = count(worker.pid * _NUMBERS_PER_PROCESS + 1)
        self._messages.start(worker)
        self._server.start(worker)
        if self._options.keys:
            worker.call_every(_SWEEP_SECONDS, self._sweep)

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        """Begin in RESP2."""
        options = self._options
        framer = RespFramer(options.max_request_bytes, options.max_words)
        connection.data = Session(connection, next(self._numbers), framer, self._commands.table)

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        """Answer what has arrived, or its first 2 KiB: the rest has its turn after the others."""
        session: Session = connection.data
        try:
            requests = session.framer.cut(connection.read())
        except _NO_REQUEST as refused:
            _refuse(session, refused)
            return
        if requests:
            answer(session, requests, self._answered)
            if session.left or session.framer.waiting:
                connection.call_next_turn(self._go_on)

    @hookimpl
    def on_drain(self, connection: Connection) -> None:
        """Close as soon as every request that has come is answered."""
        session: Session = connection.data
        session.ending = True
        session.left += self._cut(session, connection.read())
        self._go_on(connection)

    @hookimpl
    def on_close(self, connection: Connection) -> None:
        """End the subscriptions of a client that has gone."""
        session, connection.data = connection.data, None  # else only the collector frees them
        if session is not None:
            self._messages.forget(session)

    def _sweep(self) -> None:
        """Remove keys that have expired, and show how much is stored."""
        store = self._store
        store.sweep()
        self._keys.set(len(store))
        self._stored.set(store.used)

    def _go_on(self, connection: Connection) -> None:
        """Answer what waits, until there is no more or others are to have their turn.

        A client that does not take its replies is held back, too.
        """
        session: Session = connection.data
        began = time.monotonic()
        while not connection.closed:
            connection.flush()  # that tells whether the client takes its replies
            if connection.congested:
                connection.call_when_writable(self._go_on)
                return
            requests, session.left = session.left or self._cut(session), []
            if not requests:
                break
            answer(session, requests, self._answered)
            if time.monotonic() - began > _SHARE_SECONDS:
                connection.call_next_turn(self._go_on)
                return
        if session.ending:
            connection.close()

    def _cut(self, session: Session, data: bytes = b"") -> list[Words]:
        """Return the next requests; if what comes is none, refuse it."""
        try:
            return session.framer.cut(data)
        except _NO_REQUEST as refused:
            _refuse(session, refused)
            return []


def _refuse(session: Session, refused: ValueError) -> None:
    """Tell a client that what came is no request, and close."""
    session.connection.write(error(b"ERR Protocol error: " + str(refused).encode()))
    session.connection.close()
