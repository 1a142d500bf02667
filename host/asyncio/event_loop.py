"""An asyncio event loop that takes its turns in the host's own loop."""

from __future__ import annotations

import asyncio
import itertools
import signal
import socket
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple

from host.asyncio.capture import CAPTURING, PREFORK
from host.asyncio.current import CONNECTION
from host.asyncio.listening import ListeningSocket
from host.asyncio.ready import Note, Ready
from host.asyncio.selector import HostSelector
from host.asyncio.tasks import CONNECTION_ATTRIBUTE, awaited, tasks_of
from host.asyncio.transport import HostTransport
from host.interfaces import Connection, Listener
from host.runtime import forks
from host.runtime.loop import Loop
from host.text import named

Listening = Callable[[object], Iterable[tuple[Listener, socket.socket]]]

OWNER: ContextVar[object] = ContextVar("prefork plugin", default=None)
"""The plugin that a callback or task belongs to: whose exception it is."""

_OWNER_ATTRIBUTE = "prefork_plugin"
_END_SECONDS = 2.0
"""How long tasks that were cancelled at the worker's end may take to end."""


class Failed(NamedTuple):
    """A callback or task that has failed outside of any hook.

    Attributes:
        owner: the plugin that it belongs to, None if nobody knows.
        call: what has failed, as "task Task-7".
        error: what it has raised.
        transport: the transport of its connection, if it has one.
    """

    owner: object
    call: str
    error: BaseException
    transport: Any = None


def _nothing() -> None:
    """Stand in for what nobody has asked for."""


class HostEventLoop(asyncio.SelectorEventLoop):
    """The standard library's loop, with the host's loop as its selector.

    Tasks, timers, executors, clients and subprocesses are the standard library's own code. What the
    host accepts stays the host's connections, which are handled within `select`.

    asyncio runs callbacks between two calls of `select`. While the worker serves they belong to the
    turn before, which ends when `select` is called again: so a callback that hangs is seen as a
    turn that does not end, and what callbacks have written is sent with it.

    Args:
        loop: the host's loop.
        note: where it is noted which callback runs, while the worker serves; None: nowhere.
        report: told of callbacks and tasks that have failed; by default asyncio logs them.
        taken: the signals that cannot be handled, since the host uses them.
        listening: returns the listeners of a plugin, with their sockets.

    Attributes:
        is_serving: whether the worker serves, from its start to its drained end.
    """

    _ready: Any
    _scheduled: list[Any]
    _signal_handlers: dict[int, Callable[..., object]]
    _stopping: bool

    def __init__(
        self,
        loop: Loop,
        *,
        note: Note | None = None,
        report: Callable[[Failed], object] | None = None,
        taken: Collection[int] = (),
        listening: Listening = lambda _owner: (),
    ) -> None:
        self._host_loop, self._note, self._report = loop, note, report
        self._taken, self._listening = frozenset(taken), listening
        self._owners: list[object] = []
        self._begin_turn: Callable[[], object] = _nothing
        self._end_turn: Callable[[], object] = _nothing
        self.is_serving = self._is_turn_open = False
        self._selector_of_host = HostSelector(loop, self)
        self._noted = self._selector_of_host.noted
        super().__init__(self._selector_of_host)

    def time(self) -> float:
        """Return the time of the host's loop, in seconds."""
        return self._host_loop.time()

    def own(self, owner: object) -> None:
        """Note that a plugin uses the loop: if no other does, all that fails is its own."""
        self._owners.append(owner)

    def serve(self) -> None:
        """Take turns until the host's loop is stopped."""
        loop = self._host_loop
        self._begin_turn, self._end_turn = loop.on_turn_begin, loop.on_turn_end
        loop.on_turn_end, self.is_serving = self._turn_is_over, True
        if self._note is not None:
            self._ready = Ready(self._note, self._ready, loop)
        while not loop.stopping:
            try:
                self.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:  # of a callback: it ends that alone
                self._tell(Failed(self._only_owner(), "a callback", error))
        if self._is_turn_open:
            self._is_turn_open = False
            self._end_turn()
        loop.on_turn_end, self.is_serving = self._end_turn, False
        self._ready = deque(self._ready)

    def finish(self) -> None:
        """Cancel what is left, wait for it a moment, and close the loop.

        What has just begun takes its first step before, and what begins meanwhile likewise: else
        it could not tell that it is cancelled.
        """
        end = self.time() + _END_SECONDS
        while self._take_first_steps():
            left = asyncio.all_tasks(self)
            for task in left:
                task.cancel()
            waiting = asyncio.wait(left, timeout=max(0.0, end - self.time()))
            _, endless = self.run_until_complete(waiting)
            for task in endless:
                self._tell_of_endless(task)
            if endless:
                break
        self.run_until_complete(self.shutdown_asyncgens())
        self.run_until_complete(self.shutdown_default_executor())
        self.close()

    def _take_first_steps(self) -> bool:
        """Have tasks that have just begun take their first step; tell whether any are left."""
        self.run_until_complete(asyncio.sleep(0))
        return bool(asyncio.all_tasks(self))

    def finish_turn(self) -> None:
        """End the turn of the host's loop in which asyncio's callbacks have run."""
        if self._is_turn_open:
            forks.exit_if_plugin_fork()
            self._is_turn_open = False
            self._end_turn()
            if self._host_loop.stopping:
                self.stop()

    def take_turns(self) -> None:
        """Take turns until asyncio has anything to run."""
        loop, run_once, scheduled = self._host_loop, self._host_loop.run_once, self._scheduled
        run_once(0.0 if self._ready or self._stopping else self._seconds_to_wait())
        # While the worker serves, the end of each turn has found out whether there is work.
        while not (self._is_turn_open or (not self.is_serving and self.has_work())):
            if loop.stopping:
                forks.exit_if_plugin_fork()
            run_once(self._seconds_to_wait() if scheduled else None)

    def at_work(self) -> tuple[object, Connection | None, str]:
        """Return the plugin and the connection that code runs for just now, and which task it is.

        Plugin and connection may be None, the task "".
        """
        task = asyncio.current_task(self)
        said = ""
        if task is not None:
            said = f"task {task.get_name()} ({named(task.get_coro())[1]})"
        return OWNER.get() or self._only_owner(), CONNECTION.get(), said

    def has_work(self) -> bool:
        """Tell whether asyncio has anything to run now."""
        scheduled = self._scheduled
        return bool(
            self._ready
            or self._noted
            or self._stopping
            or (scheduled and scheduled[0]._when <= self._host_loop.now)
        )

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Tell of a callback or task that has failed."""
        error = context.get("exception")
        if self._report is None or error is None:
            super().default_exception_handler(context)
            return
        task = context.get("task") or context.get("future")
        owner = getattr(task, _OWNER_ATTRIBUTE, None) or self._owner_of(context)
        self._tell(Failed(owner, _name(context, task), error, context.get("transport")))

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """Make a task of a coroutine, and note whose it is."""
        task = super().create_task(coro, **options)
        owner = OWNER.get()
        if owner is not None:
            setattr(task, _OWNER_ATTRIBUTE, owner)
        connection = CONNECTION.get()
        if connection is not None:  # the context of a task is not told before Python 3.12
            setattr(task, CONNECTION_ATTRIBUTE, connection)
        return task

    def tasks_of(self, connection: Connection | None) -> list[str]:
        """Say of each task of a connection what it is and where it waits, but for the running one.

        Args:
            connection: the connection; None stands for all tasks.
        """
        return tasks_of(self, connection)

    def listening_sockets(self, owner: object) -> tuple[ListeningSocket, ...]:
        """Return the listening sockets of a plugin."""
        return tuple(itertools.starmap(ListeningSocket, self._listening(owner)))

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        host: Any = None,
        port: Any = None,
        **options: Any,
    ) -> asyncio.AbstractServer:
        """Make a server; some serve the listeners of the plugin that starts, and bind nothing.

        On the host "prefork" it serves all of them; with `sock` being one of its
        `listening_sockets` it serves that one.

        Raises:
            RuntimeError: the plugin does not start just now, or has such a server already.
        """
        is_captured, sock = host in (PREFORK, [PREFORK], (PREFORK,)), options.get("sock")
        if sock is None and is_captured:
            return self._capture(protocol_factory, options)
        if sock is not None and host is None and port is None and self._is_listening(sock):
            return self._capture(protocol_factory, options)
        return await super().create_server(protocol_factory, host, port, **options)

    async def create_unix_server(  # type: ignore[override]
        self, protocol_factory: Callable[[], Any], path: Any = None, **options: Any
    ) -> asyncio.AbstractServer:
        """Make a server; one with `sock` as of `create_server` serves that listener."""
        sock = options.get("sock")
        if sock is not None and path is None and self._is_listening(sock):
            return self._capture(protocol_factory, options)
        return await super().create_unix_server(protocol_factory, path, **options)

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], Any],
        local_addr: Any = None,
        *args: Any,
        **options: Any,
    ) -> Any:
        """Make a socket for datagrams: asyncio's own, never one of the host.

        Raises:
            RuntimeError: it is asked for on the host "prefork".
        """
        if isinstance(local_addr, tuple) and local_addr[0] == PREFORK:
            raise RuntimeError(
                f'create_datagram_endpoint(("{PREFORK}", …)): asyncio cannot serve UDP listeners, '
                "whose datagrams come by the hook on_datagram"
            )
        return await super().create_datagram_endpoint(
            protocol_factory, local_addr, *args, **options
        )

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: int | None) -> int:
        """Send a file (`loop.sendfile`): the host does it for its own connections."""
        if isinstance(transp, HostTransport):
            return await transp.send_file(file, offset, count)
        return await super()._sendfile_native(transp, file, offset, count)  # type: ignore[misc, no-any-return]

    def _capture(
        self, factory: Callable[[], Any], options: dict[str, Any]
    ) -> asyncio.AbstractServer:
        """Have a factory serve listeners of the plugin that starts."""
        capture = CAPTURING.get()
        if capture is None or capture.over:
            raise RuntimeError(
                f'create_server(host="{PREFORK}") serves the listeners of a plugin, within its '
                "method start() alone"
            )
        return capture.take(factory, options, self)

    def _is_listening(self, sock: Any) -> bool:
        """Tell whether a socket is a listening one of the plugin that starts."""
        if isinstance(sock, ListeningSocket):
            return True
        capture = CAPTURING.get()
        return capture is not None and any(each.is_same(sock) for each in capture.sockets)

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Have a callback called at a signal that the host does not use.

        The interpreter calls a handler in this thread, which wakes the loop: the descriptor that
        asyncio would have signals written to (set_wakeup_fd) is the host's.

        Raises:
            RuntimeError: the host uses it.
            ValueError, TypeError: see asyncio.
        """
        if asyncio.iscoroutine(callback) or asyncio.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        self._check_signal(sig)  # type: ignore[attr-defined]
        self._check_closed()  # type: ignore[attr-defined]
        if sig in self._taken:
            name = signal.Signals(sig).name
            raise RuntimeError(f"signal {name} cannot be handled: the host uses it")
        try:
            signal.signal(sig, lambda *_: self.call_soon_threadsafe(callback, *args))
            signal.siginterrupt(sig, False)
        except ValueError as error:  # not in the main thread
            raise RuntimeError(str(error)) from None
        except OSError as error:
            raise RuntimeError(f"sig {sig} cannot be caught") from error
        self._signal_handlers[sig] = callback

    def remove_signal_handler(self, sig: int) -> bool:
        """Do nothing at a signal any more; tell whether anything was done."""
        self._check_signal(sig)  # type: ignore[attr-defined]
        if self._signal_handlers.pop(sig, None) is None:
            return False
        by_default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, by_default)
        except OSError as error:
            raise RuntimeError(f"sig {sig} cannot be caught") from error
        return True

    def _owner_of(self, context: dict[str, Any]) -> object:
        """Return the plugin that something without a task belongs to; None if nobody knows."""
        handle = context.get("handle")
        values: Any = getattr(handle, "_context", None) or copy_context()
        return values.get(OWNER) or self._only_owner()

    def _only_owner(self) -> object:
        """Return the plugin that uses the loop; None if several do."""
        return self._owners[0] if len(self._owners) == 1 else None

    def _turn_is_over(self) -> None:
        """End a turn of the host's loop, or leave it open for the callbacks that are to run."""
        scheduled = self._scheduled
        # `has_work`, without a call: this is asked in each turn.
        if not (
            self._ready
            or self._noted
            or self._stopping
            or (scheduled and scheduled[0]._when <= self._host_loop.now)
        ):
            self._end_turn()
            loop = self._host_loop
            if loop.stopping:
                self.stop()
            elif not self._ready:
                return
            # What was called at the end has left work: it gets a turn of its own.
            loop.refresh()
            self._begin_turn()
        self._is_turn_open = True

    def _seconds_to_wait(self) -> float | None:
        """Return how long no timer is due; None if none ever is."""
        scheduled = self._scheduled
        return max(0.0, scheduled[0]._when - self.time()) if scheduled else None

    def _tell_of_endless(self, task: asyncio.Task[Any]) -> None:
        """Tell of a task that goes on though it was cancelled, with where it is."""
        places = ", ".join(awaited(task.get_coro()))
        text = f"it went on for {_END_SECONDS:g} s after it was cancelled: {places}"
        owner = getattr(task, _OWNER_ATTRIBUTE, None) or self._only_owner()
        self._tell(Failed(owner, _name({}, task), TimeoutError(text)))

    def _tell(self, failed: Failed) -> None:
        if self._report is not None:
            self._report(failed)


def _name(context: dict[str, Any], task: Any) -> str:
    """Say what has failed."""
    if isinstance(task, asyncio.Task):
        return f"task {task.get_name()}"
    callback = getattr(context.get("handle"), "_callback", None)
    if callback is not None:
        return f"callback {named(callback)[1]}"
    return str(context.get("message", "a callback"))
