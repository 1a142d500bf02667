"""A worker without a process: plugins see it as `host.Worker`, tests make time pass in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from host.asyncio.event_loop import Failed
from host.interfaces import Bus, CloseReason, Listener, RequestLog
from host.plugin.binding import ListenerHooks
from host.runtime.loop import TimerHandle
from host.settings import ConnectionLimits, PoolSettings
from host.testing.bus import MemoryBus
from host.testing.event_loop import FakeEventLoop
from host.testing.loop import FakeLoop
from host.testing.pool import FakePool
from host.testing.start_tls import FakeHandshakes
from host.testing.wire import Wire
from host.text import named
from host.worker.asyncio_loop import TOO_LATE
from host.worker.connection import SocketConnection
from host.worker.context import ListenerContext, OpenConnections
from host.worker.timers import RepeatedCall


@dataclass(frozen=True, slots=True)
class Failure:
    """What a plugin raised.

    Attributes:
        plugin: the plugin's name, or the module of a function that was called later.
        hook: the hook, or which call it was.
        error: the exception.
    """

    plugin: str
    hook: str
    error: BaseException


class FakeWorker:
    """A worker of a test; it is made without arguments, unless several are to be connected.

    Plugins see it as `host.Worker`. Tests call `run`, `advance` and `raise_failures`; the rest is
    for fake connections and the harness.

    Args:
        slot: its slot; its pid is made of it.
        bus: what connects it with other workers.
        loop: the loop that it shares with them.
        raises: whether `run` raises what plugins have raised; else it is only kept.

    Attributes:
        failures: what plugins have raised so far.
        dead: whether it was killed; then none of its timers is called any more.
        turn: its connections.
        wires: the wires of the connections that are open, by number.
        handshakes: those that plugins have begun in the middle of a connection.
        pool_settings: the pools that the settings have; None for any pool, with its defaults.
        log_request: what is called for access lines; None: nobody asks for them.
        listeners_of: returns the listeners of a plugin object.
        endings: for each connection that has ended why; two reasons if it ended twice.
    """

    def __init__(
        self,
        slot: int = 0,
        *,
        bus: MemoryBus | None = None,
        loop: FakeLoop | None = None,
        raises: bool = True,
    ) -> None:
        self.slot, self.generation, self.pid = slot, 0, os.getpid() + slot
        self.loop = loop or FakeLoop()
        self.raises, self.dead = raises, False
        self.failures: list[Failure] = []
        self._unraised: list[Failure] = []
        self.open_connections = OpenConnections()
        self.wires: dict[int, Wire] = {}
        self.handshakes = FakeHandshakes(self.wires)
        self.endings: dict[SocketConnection, list[CloseReason]] = {}
        self._serial = 0
        self.pool_settings: Mapping[str, PoolSettings] | None = None
        self._pools: dict[str, FakePool] = {}
        self.log_request: RequestLog | None = None
        self.listeners_of: Callable[[object], Iterable[Listener]] = lambda _plugin: ()
        self._event_loop: FakeEventLoop | None = None
        self._calls = 0  # of plugins that are under way, one within the other
        self.bus: Bus = (bus or MemoryBus()).join(self.pid, self.loop, self._isolated)
        self.loop.rests.append(self.rest)

    def __repr__(self) -> str:
        return f"<fake worker {self.slot}>"

    @property
    def connections(self) -> Sequence[SocketConnection]:
        """The connections open in this worker, as a snapshot."""
        return tuple(self.open_connections.open)

    def listener_connections(self, listener: Listener) -> Sequence[SocketConnection]:
        """Return those of them that came in on `listener`, as a snapshot."""
        return tuple(each for each in self.open_connections.open if each.listener == listener)

    @property
    def asyncio(self) -> FakeEventLoop:
        """The event loop, whose time is the test's; it is made when it is first asked for.

        Test what needs real sockets, files or processes with a `RunningHost`.

        Raises:
            RuntimeError: the first call comes from a hook or callback while the worker serves.
        """
        if self._event_loop is None:
            if self._calls:
                raise RuntimeError(TOO_LATE)
            self._event_loop = FakeEventLoop(self.loop, self._report_task, self.listeners_of)
            self.loop.rests.append(self._take_turn)
        return self._event_loop

    def close_asyncio(self) -> None:
        """Cancel the tasks that are left, and close the event loop if there is one."""
        if self._event_loop is not None:
            self._event_loop.finish()
            self.raise_failures()

    def call_later(self, seconds: float, function: Callable[[], object]) -> TimerHandle:
        """Call `function` once, when that much time has passed."""
        return self.loop.call_at(self.loop.now + seconds, lambda: self._isolated(function))

    def call_every(self, seconds: float, function: Callable[[], object]) -> RepeatedCall:
        """Call `function` again and again, each time that much time has passed."""
        return RepeatedCall(self.loop, seconds, lambda: self._isolated(function))

    def call_from_thread(self, function: Callable[[], object]) -> None:
        """Call `function` in the next turn."""
        self.loop.call_from_thread(lambda: self._isolated(function))

    def pool(self, name: str = "default") -> FakePool:
        """Return a pool whose tasks are done by this process, in turns of the loop."""
        pool = self._pools.get(name)
        if pool is None:
            pool = self._pools[name] = FakePool(name, self.loop, self._isolated, self.pool_settings)
        return pool

    def run(self) -> None:
        """Run turns until nothing is left to be done now; raise what plugins have raised."""
        self.loop.run()
        self.raise_failures()

    def advance(self, seconds: float) -> None:
        """Let time pass; timers that are due are called."""
        self.loop.advance(seconds)
        self.raise_failures()

    def raise_failures(self) -> None:
        """Raise the first failure that was not raised yet, if this worker is one that raises."""
        unraised, self._unraised = self._unraised, []
        if unraised and self.raises:
            first = unraised[0]
            first.error.add_note(f"raised by {first.hook} of plugin {first.plugin}")
            raise first.error

    def report(
        self, plugin: str, hook: str, error: BaseException, _args: tuple[object, ...] = ()
    ) -> None:
        """Keep what a plugin has raised."""
        failure = Failure(plugin, hook, error)
        self.failures.append(failure)
        self._unraised.append(failure)

    def serial(self) -> int:
        """Return the number of the next connection."""
        self._serial += 1
        return self._serial

    def context(
        self,
        listener: Listener,
        hooks: ListenerHooks | None = None,
        limits: ConnectionLimits | None = None,
    ) -> ListenerContext:
        """Return what the connections of a listener share.

        Args:
            listener: what plugins see of the listener.
            hooks: the hooks of its plugins; None if the test calls the plugin itself.
            limits: the settings `[connection]`; None for the host's defaults.
        """

        def on_close(connection: SocketConnection, reason: CloseReason) -> None:
            self.endings.setdefault(connection, []).append(reason)
            if hooks is not None:
                hooks.on_close(connection, reason)

        context = ListenerContext(
            listener,
            worker=self,
            loop=self.loop,
            on_accept=self._within(hooks.on_accept if hooks else lambda *_: True),
            on_readable=self._within(hooks.on_readable if hooks else lambda *_: None),
            on_close=self._within(on_close),
            on_drain=self._within(hooks.on_drain if hooks else lambda *_: True),
            on_tls=self._within(hooks.on_tls if hooks else lambda _: True),
            blame=hooks.blame if hooks else lambda _: "test",
            report=self.report,
            on_end=self._on_end,
            limits=limits or ConnectionLimits(),
            connections=self.open_connections,
            read=lambda fd, size: self.wires[fd].read(size),
            discard=lambda fd, size: self.wires[fd].read(size),
            read_into=lambda fd, buffers: self.wires[fd].read_into(buffers[0]),
            write=lambda fd, data: self.wires[fd].write(data),
            write_pieces=lambda fd, pieces: self.wires[fd].write(b"".join(pieces)),
            send_file=lambda fd, file, offset, count: self.wires[fd].send_file(file, offset, count),
            close=lambda fd: self.wires.pop(fd).close(),
            reset=lambda fd: self.wires[fd].reset(),
            error=lambda _: 0,  # reading and writing raise it here
        )
        return self.handshakes.starting(context)

    def _on_end(self, connection: SocketConnection, _reason: CloseReason) -> None:
        self.open_connections.open.discard(connection)
        self.loop.detach(connection.fileno())

    def _within(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what calls a function while the event loop runs, if there is one."""

        def call(*args: object) -> Any:
            loop = self._event_loop
            self._calls += 1
            try:
                return function(*args) if loop is None else loop.within(function, *args)
            finally:
                self._calls -= 1

        return call

    def _take_turn(self) -> bool:
        """Run tasks and callbacks of asyncio; true if there were any."""
        return not self.dead and self.asyncio.take_turn()

    def _report_task(self, failed: Failed) -> None:
        """Keep what a task or callback has raised."""
        self.report(type(failed.owner).__module__, failed.call, failed.error)

    def _isolated(self, function: Callable[[], object]) -> None:
        if self.dead:
            return
        try:
            self._within(function)()
        except BaseException as error:
            module, name = named(function)
            self.report(module, f"call of {name}", error)

    def rest(self) -> bool:
        """End a turn: follow up what was touched; true if anything was."""
        touched = self.open_connections.touched
        if not touched:
            return False
        for connection in touched:  # grows while it is gone through, when hooks write to others
            connection.follow_up()
        touched.clear()
        return True
