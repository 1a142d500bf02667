"""What plugins see of the worker process: `host.Worker`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from host.bus.worker_end import Isolated
from host.interfaces import Bus, Listener, Pool, PoolError, RequestLog
from host.ipc.assignment import WorkerId
from host.ipc.current_call import callback_words
from host.ipc.scoreboard import CURRENT_CALL, Row
from host.runtime.loop import Loop, TimerHandle
from host.telemetry.emitter import ReportFailure
from host.text import named
from host.worker.connection import SocketConnection
from host.worker.context import OpenConnections
from host.worker.timers import RepeatedCall

if TYPE_CHECKING:  # a worker that uses none of them does not import them
    from asyncio import AbstractEventLoop

    from host.offload.pools import Pools


class PluginWorker:
    """The worker process as plugins see it; implements `host.Worker`.

    Args:
        worker: who the worker is.
        bus: its end of the bus.
        loop: its loop.
        turn: its connections.
        isolated: calls what it is given so that an exception ends up in the log.
        get_asyncio: returns the event loop of asyncio.

    Attributes:
        pools: its pools; None if the settings have none.
        log_request: writes access lines; None if nobody asks for them.
    """

    def __init__(
        self,
        worker: WorkerId,
        bus: Bus,
        loop: Loop,
        connections: OpenConnections,
        isolated: Isolated,
        get_asyncio: Callable[[], AbstractEventLoop],
    ) -> None:
        self.slot, self.pid, self.generation = worker
        self.bus = bus
        self._loop, self._connections, self._isolated = loop, connections, isolated
        self._get_asyncio = get_asyncio
        self.pools: Pools | None = None
        self.log_request: RequestLog | None = None

    def __repr__(self) -> str:
        return f"<worker {self.slot} (pid {self.pid})>"

    @property
    def connections(self) -> Sequence[SocketConnection]:
        """The connections open in this worker, as a snapshot."""
        return tuple(self._connections.open)

    def listener_connections(self, listener: Listener) -> Sequence[SocketConnection]:
        """Return those of them that came in on `listener`, as a snapshot."""
        return tuple(each for each in self._connections.open if each.listener == listener)

    @property
    def asyncio(self) -> AbstractEventLoop:
        """The asyncio event loop of this worker."""
        return self._get_asyncio()

    def call_later(self, seconds: float, function: Callable[[], object]) -> TimerHandle:
        """Call `function` on the loop, once, after `seconds`."""
        return self._loop.call_later(seconds, lambda: self._isolated(function))

    def call_every(self, seconds: float, function: Callable[[], object]) -> RepeatedCall:
        """Call `function` on the loop again and again, first after `seconds`."""
        return RepeatedCall(self._loop, seconds, lambda: self._isolated(function))

    def call_from_thread(self, function: Callable[[], object]) -> None:
        """Call `function` on the loop soon; safe in any thread."""
        self._loop.call_from_thread(lambda: self._isolated(function))

    def pool(self, name: str = "default") -> Pool:
        """Return the pool of that name."""
        if self.pools is None:
            raise PoolError(
                f'there is no pool "{name}": the settings need a table [pools.{name}], which may '
                "be empty"
            )
        return self.pools.get(name)


def isolation(row: Row, report: ReportFailure) -> Isolated:
    """Return what calls functions that plugins have given to timers, threads and the bus.

    Args:
        row: the worker's row of the scoreboard, which says what is being called.
        report: told of the exceptions.
    """
    words, cells, call_cell = callback_words(), row.cells, row.index(CURRENT_CALL)

    def isolated(function: Callable[[], object]) -> None:
        cells[call_cell] = next(words)
        try:
            function()
        except BaseException as error:
            module, name = named(function)
            report(module, f"call of {name}", error, ())

    return isolated
