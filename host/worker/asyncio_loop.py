"""Makes the asyncio event loop of a worker, for a plugin that asks for it."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from host.interfaces import Connection, Listener
from host.ipc.current_call import TASK, pack_call
from host.ipc.scoreboard import CURRENT_CALL, TURN_STARTED, Row
from host.plugin.failures import Failures
from host.plugin.registry import Registry
from host.profiling.recorder import ANYONE
from host.runtime.loop import Loop
from host.runtime.signal_table import SIGNALS
from host.runtime.stacks import explain_by

Time = Callable[[str, str, Callable[..., Any]], Callable[..., Any]]

if TYPE_CHECKING:
    from host.asyncio.event_loop import Failed, HostEventLoop


TOO_LATE = "worker.asyncio was asked for too late: ask for it in on_worker_start"
"""What is said where no event loop can be made any more."""


class AsyncioLoop:
    """The asyncio event loop of a worker: none until it is asked for.

    Args:
        loop: the worker's loop.
        row: the worker's row of the scoreboard, which says what is being called.
        registry: the loaded plugins.
        failures: told of what callbacks and tasks raise.
        stacks: what the stacks of the process are printed to.
        time: returns what to call in a function's place, for its time to count for a plugin under
            some name; None to measure nothing.

    Attributes:
        listening: the listening sockets of the worker, with what plugins serve them.
    """

    def __init__(
        self,
        loop: Loop,
        row: Row,
        registry: Registry,
        failures: Failures,
        stacks: int,
        time: Time | None = None,
    ) -> None:
        self._stacks, self._time = stacks, time
        self._loop, self._registry, self._failures = loop, registry, failures
        self._cells, self._call_cell = row.cells, row.index(CURRENT_CALL)
        self._turn_cell = row.index(TURN_STARTED)
        self.listening: Sequence[tuple[Listener, socket.socket]] = ()
        self._made: HostEventLoop | None = None
        self._is_late = False

    def get(self) -> HostEventLoop:
        """Return the event loop, which is made at the first call.

        Raises:
            RuntimeError: the first call comes after the worker has begun to serve.
        """
        if self._made is None:
            if self._is_late:
                raise RuntimeError(TOO_LATE)
            # Not at the top: a worker in which nobody asks does without asyncio. Where a plugin has
            # imported asyncio, this was imported before the first fork (decision 28); else it is
            # now, before the worker is ready, and never while it serves.
            from host.asyncio.event_loop import HostEventLoop  # noqa: PLC0415
            from host.asyncio.ready import Note  # noqa: PLC0415

            self._made = HostEventLoop(
                self._loop,
                note=Note(self._cells, self._call_cell, pack_call(TASK)),
                report=self._report,
                taken=SIGNALS,
                listening=self._listening_of,
            )
            explain_by(self._explain, self._stacks)
            if self._time is not None:
                from host.asyncio.measuring import measure_tasks  # noqa: PLC0415

                measure_tasks(self._made, functools.partial(self._measure, self._time))
        return self._made

    def run(self) -> None:
        """Take turns until the worker's loop is stopped."""
        self._is_late = True
        if self._made is None:
            self._loop.run()
        else:
            self._made.serve()

    def finish(self, flush: Callable[[], object]) -> None:
        """Let turns of the worker's loop do nothing any more but what asyncio asks for.

        They are still seen to begin: a plugin that waits for something as it stops does not hang.

        Args:
            flush: called at the end of each turn.
        """
        if self._made is not None:
            self._loop.on_turn_begin, self._loop.on_turn_end = self._note_turn, flush

    def close(self) -> None:
        """Cancel the tasks that are left, and close the event loop."""
        if self._made is not None:
            self._made.finish()

    def _measure(
        self, time: Time, owner: object, name: str, function: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Have the time of a function count for a plugin."""
        return time(ANYONE if owner is None else self._name_of(owner), name, function)

    def _note_turn(self) -> None:
        """Write to the scoreboard when a turn has begun."""
        self._cells[self._turn_cell] = int(self._loop.now * 1e9)

    def tasks_of(self, connection: Connection) -> list[str]:
        """Say of each task of a connection what it is and where it waits."""
        return [] if self._made is None else self._made.tasks_of(connection)

    def _explain(self) -> list[str]:
        """Say whose task runs just now, and what it is at; then the others of its connection."""
        assert self._made is not None
        owner, connection, task = self._made.at_work()
        said = "" if owner is None else f"of plugin {self._name_of(owner)}"
        if connection is not None:
            said += f", connection {connection.id}"
            if connection.doing:
                said += f", {connection.doing}"
        others = self._made.tasks_of(connection)
        return [", ".join(filter(None, (said, task))), *others]

    def _name_of(self, owner: object) -> str:
        """Return the name of a plugin, "?" if it is none."""
        names = (each.name for each in self._registry.plugins if each.object is owner)
        return next(names, "?")

    def _listening_of(self, owner: object) -> list[tuple[Listener, socket.socket]]:
        """Return the listening sockets that a plugin serves."""
        name = self._name_of(owner)
        found = {each[0].index: each for each in self.listening if each[0].plugin == name}
        return list(found.values())  # clients can ask for a plugin by several names: one socket

    def _report(self, failed: Failed) -> None:
        """Tell of a callback or task that has failed."""
        get = getattr(failed.transport, "get_extra_info", None)
        connection = get("connection") if get is not None else None
        self._failures.tell_of_callback(
            self._name_of(failed.owner), failed.call, failed.error, connection
        )
