"""Plugins that serve their listeners with asyncio protocols."""

from __future__ import annotations

import asyncio
import functools
import inspect
import ssl as tls
import sys
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from typing import Any

from host.asyncio.capture import CAPTURING, Capture, Factory, over_tls
from host.asyncio.current import CONNECTION
from host.asyncio.event_loop import OWNER, HostEventLoop
from host.asyncio.goodbyes import goodbye_of
from host.asyncio.listening import ListeningSocket
from host.asyncio.ready import WORD
from host.asyncio.transport import HostTransport
from host.errors import RealWorkerNeededError
from host.hookspecs import hookimpl
from host.interfaces import CloseReason, Connection, Worker

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, object]]
Drain = Callable[[Any, asyncio.Transport, float], object]


class AsyncioProtocol:
    """The base of a plugin that serves its listeners with asyncio.

    A subclass has one of these: a method `factory`, which makes the protocol of each connection; a
    coroutine `handle`, which is called with the streams of each connection; or a `start` that
    makes a server on the host "prefork" (`await loop.create_server(factory, "prefork")`), as
    libraries for asyncio do for their users, or servers on its `listening_sockets`.
    """

    listening_sockets: tuple[ListeningSocket, ...] = ()
    """The listening sockets of the plugin's listeners, there since before `start`; for libraries
    that take one: `create_server(factory, sock=self.listening_sockets[0])` serves that listener."""

    _owner: Any = None
    _factories: Mapping[int | None, Factory]
    _drains_owner = False

    async def start(self, worker: Worker) -> Any:
        """Begin, before the worker is ready; what it raises ends the start of the worker.

        Returns:
            A server of a library, or None. Its method `close` is called when the worker drains,
            unless the plugin or the library of the protocol has a better way to say goodbye.
        """

    async def stop(self, worker: Worker) -> None:
        """End, after the last connection of the worker."""

    def drain(self, protocol: Any, transport: asyncio.Transport, deadline: float) -> object:
        """Say goodbye to a peer, as the worker goes away.

        By default it is done in the way of the library that the protocol is of (see
        `host.asyncio.goodbyes`), else by closing what `start` has returned. A connection that is
        not closed then goes on until the deadline.

        Args:
            protocol: the connection's protocol, as the factory has made it.
            transport: its transport.
            deadline: when the connection is closed in any case, in seconds of `loop.time()`.

        Returns:
            Nothing, or a coroutine, which becomes a task.
        """
        goodbye = goodbye_of(protocol)
        if goodbye is not None:
            return goodbye(protocol, transport, deadline)
        if not self._drains_owner and hasattr(self._owner, "close"):
            self._drains_owner = True
            return self._owner.close()
        return None

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        """Run `start`, and find out what serves the connections."""
        loop = worker.asyncio
        if not isinstance(loop, HostEventLoop):
            raise RealWorkerNeededError
        self._loop = loop
        loop.own(self)
        self.listening_sockets = loop.listening_sockets(self)
        capture = Capture(self.listening_sockets)
        context = copy_context()
        context.run(CAPTURING.set, capture)
        context.run(OWNER.set, self)
        task = loop.create_task(self.start(worker), context=context)
        self._owner = loop.run_until_complete(task)
        capture.over = True
        self._factories = self._choose_factories(capture)

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        """Make a protocol and connect it with its transport."""
        context = copy_context()
        context.run(OWNER.set, self)
        context.run(CONNECTION.set, connection)
        context.run(WORD.set, connection.task_word)  # type: ignore[attr-defined]
        transport = HostTransport(connection, self._loop, context)
        connection.data = transport
        factories = self._factories
        factory = factories.get(None) or factories[connection.listener.index]
        transport.begin(context.run(factory))

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        """Hand the protocol what has arrived."""
        transport = connection.data
        data_received = transport.data_received
        if data_received is None:
            transport.receive_into(connection)
            return
        data = connection.read()
        if data:
            transport.run(data_received, data)
        elif connection.eof:
            transport.receive_eof(connection)

    @hookimpl
    def on_close(self, connection: Connection, reason: CloseReason) -> None:
        """Tell the protocol that the connection has ended."""
        transport, connection.data = connection.data, None
        if transport is not None:
            transport.end(reason)

    @hookimpl
    def on_drain(self, connection: Connection, deadline: float) -> None:
        """Say goodbye."""
        transport = connection.data
        if transport is None:
            return
        spoken = transport.spoken()
        result = transport.context.run(self.drain, *spoken, deadline)
        if inspect.iscoroutine(result):
            self._loop.create_task(result, context=transport.context)

    @hookimpl
    def on_worker_stop(self, worker: Worker) -> None:
        """Run `stop`."""
        context = copy_context()
        context.run(OWNER.set, self)
        self._loop.run_until_complete(self._loop.create_task(self.stop(worker), context=context))

    def _choose_factories(self, capture: Capture) -> Mapping[int | None, Factory]:
        """Return what makes the protocols; see `Capture.factories`."""
        factory: Factory | None = getattr(self, "factory", None)
        handle: Handler | None = getattr(self, "handle", None)
        ways = [each for each in (capture.factories, factory, handle) if each]
        if len(ways) != 1:
            raise TypeError(
                f"{type(self).__name__} must have one of: a method factory(), a coroutine "
                'handle(reader, writer), a start() that makes a server on the host "prefork"; '
                f"it has {len(ways)}"
            )
        capture.check_complete()
        if factory is None and handle is not None:
            factory = streams(handle)
        return capture.factories if factory is None else {None: factory}


def serve(
    factory_or_handler: Factory | Handler,
    *,
    ssl: tls.SSLContext | None = None,
    drain: Drain | None = None,
) -> type[AsyncioProtocol]:
    """Return a plugin that serves its listeners with an asyncio protocol.

    The file `service.py` says `app = serve(…)`, and `--plugin ./service.py:app` selects it.

    Args:
        factory_or_handler: makes the protocol of each connection; or a coroutine function that is
            called with the streams of each connection.
        ssl: has connections speak TLS, by asyncio's own means.
        drain: says goodbye to a peer as the worker goes away; see `AsyncioProtocol.drain`.
    """
    make: Any = factory_or_handler
    if inspect.iscoroutinefunction(make):
        make = streams(make)
    if ssl is not None:
        make = over_tls(make, ssl)
    members: dict[str, Any] = {"factory": staticmethod(make)}
    if drain is not None:
        members["drain"] = staticmethod(drain)
    # Whose it is, for messages: as collections.namedtuple finds out.
    members["__module__"] = sys._getframe(1).f_globals.get("__name__", __name__)
    return type("Served", (AsyncioProtocol,), members)


def streams(handle: Handler) -> Factory:
    """Return a factory of protocols whose connections a coroutine serves.

    When it raises, that is told, and the connection is reset; but not what it hears of a connection
    that has ended.

    Args:
        handle: called with reader and writer of each connection, which it closes.
    """

    @functools.wraps(handle)
    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        except Exception as error:
            is_gone = isinstance(error, ConnectionError | TimeoutError)
            if is_gone and writer.transport.is_closing():
                return  # it has heard of the end of the connection, which is no fault of its own
            writer.transport.abort()  # after close() an answer that was cut would look complete
            asyncio.get_running_loop().call_exception_handler(
                {
                    "message": "the handler of a connection failed",
                    "exception": error,
                    "task": asyncio.current_task(),
                    "transport": writer.transport,
                }
            )

    def make() -> asyncio.BaseProtocol:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        return asyncio.StreamReaderProtocol(reader, guarded, loop=loop)

    return make
