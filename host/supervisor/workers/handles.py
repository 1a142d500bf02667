"""The living workers, each with the supervisor's ends of its channels."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from host.bus.supervisor_end import BusRouter, MessageCounts
from host.ipc.assignment import Assignment
from host.ipc.protocol import Report
from host.ipc.scoreboard import (
    ACCEPTED_ALL,
    BUS_DELIVERED,
    BUS_DROPPED,
    BUS_PUBLISHED,
    CURRENT_CALL,
    PID,
    TURN_LASTED,
    TURN_STARTED,
    Row,
)
from host.ipc.supervisor_end import SupervisorChannel
from host.runtime import forks, processes, stacks, streams
from host.runtime.descriptors import close_each
from host.runtime.loop import READ, Loop
from host.supervisor.generation import Generation
from host.supervisor.workers.hang_detector import Reading
from host.supervisor.workers.states import WorkerRecord, WorkerState


@dataclass(slots=True, eq=False)
class WorkerHandle:
    """One living worker.

    Attributes:
        record: what the pool knows of it.
        generation: its generation.
        row: its row of the scoreboard.
        channel: its control channel.
        stack_reader: reads the stacks that it prints.
        served_before: connections that were accepted in its row before it.
        held: whether an operator keeps new connections from it.
        plugins: its plugins that are left out at the moment, as it has told.
        clients: the number of its row of the counts of clients, if it counts them.
    """

    record: WorkerRecord
    generation: Generation
    row: Row
    channel: SupervisorChannel
    stack_reader: stacks.StackReader
    served_before: int
    held: bool = False
    plugins: list[dict[str, Any]] = field(default_factory=list)
    clients: int | None = None

    @property
    def served(self) -> int:
        """How many connections it has accepted."""
        return self.row.get(ACCEPTED_ALL) - self.served_before

    @property
    def reading(self) -> Reading:
        """What its loop shows."""
        get = self.row.get
        return Reading(self.record.pid, get(TURN_STARTED), get(TURN_LASTED), get(CURRENT_CALL))


class Workers:
    """Forks workers, hears their reports, and lets go of them.

    Args:
        router: carries the messages between them.
        on_report: called with a worker and a report of it.
        run_worker: what a worker does in its process; returns the exit code.
        counts_messages: whether messages between them are counted.
    """

    def __init__(
        self,
        loop: Loop,
        router: BusRouter,
        *,
        on_report: Callable[[WorkerHandle, Report], object],
        run_worker: Callable[[Assignment], int],
        counts_messages: bool = False,
    ) -> None:
        self._loop, self._router, self._counts_messages = loop, router, counts_messages
        self._on_report, self._run_worker = on_report, run_worker
        self._handles: dict[int, WorkerHandle] = {}

    def __iter__(self) -> Iterator[WorkerHandle]:
        return iter(tuple(self._handles.values()))

    def get(self, pid: int) -> WorkerHandle | None:
        """Return the worker with this pid, if there is one."""
        return self._handles.get(pid)

    def send(self, pid: int, data: bytes) -> bool:
        """Send to a worker without waiting; False if it was not taken."""
        handle = self._handles.get(pid)
        return handle is not None and handle.channel.send(data)

    def send_descriptor(self, pid: int, data: bytes, descriptor: int) -> bool:
        """Do the same, with a copy of a descriptor."""
        handle = self._handles.get(pid)
        return handle is not None and handle.channel.send_descriptor(data, descriptor)

    def signal(self, pid: int, number: int) -> None:
        """Send a signal; harmless if the worker has just ended."""
        forks.exit_if_plugin_fork()
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    def fork(
        self,
        slot: int,
        generation: Generation,
        *,
        forked: Callable[[int], WorkerRecord],
        close: Callable[[], object],
    ) -> WorkerHandle:
        """Start a worker.

        Args:
            slot: the slot that it fills.
            generation: the generation that it belongs to.
            forked: told the pid, returns what the pool knows of it.
            close: closes, in the child, what the supervisor alone uses.

        Raises:
            OSError: EAGAIN, ENOMEM, EMFILE: the machine is short of something.
            LimitsError: no row is free.
        """
        streams.fill()  # no channel may get a number that is printed to
        with ExitStack() as theirs, ExitStack() as ours:
            mine, its = _ends(ours, theirs)
            row = generation.take_row(slot)
            ours.callback(generation.give_back, row)
            clients = None
            if generation.clients is not None:
                clients = generation.clients.take_row()
                ours.callback(generation.clients.give_back, clients)
            node = self._router.hub.node
            assignment = _assignment(slot, generation, row, its, clients, node)
            channel, reader = SupervisorChannel(mine.control), stacks.StackReader(mine.stacks)

            def become_worker() -> int:
                mine.close()
                close()
                return self._run_worker(assignment)

            pid = processes.fork(become_worker)
            row.put(PID, pid)
            # Until the pool has a record of it:
            record = WorkerRecord(slot, pid, 0.0, WorkerState.STARTING, None)
            served = row.get(ACCEPTED_ALL)
            handle = WorkerHandle(record, generation, row, channel, reader, served, clients=clients)
            try:
                self.add(handle, mine.bus)
            except OSError:  # ENOSPC or ENOMEM of epoll_ctl(2): as if it had not been forked
                self.signal(pid, signal.SIGKILL)
                self._remove(handle)
                raise
            ours.pop_all()
        handle.record = forked(pid)
        return handle

    def add(
        self,
        handle: WorkerHandle,
        bus: socket.socket | None,
        bus_state: tuple[bytes, bytes, int] | None = None,
    ) -> None:
        """Watch the channels of a living worker.

        Args:
            handle: the worker; its channels are closed when it is let go.
            bus: its bus channel, if that is open; the router closes it.
            bus_state: what is in that channel's buffers, as `BusRouter.state` has told.

        Raises:
            OSError: ENOSPC or ENOMEM of epoll_ctl(2).
        """
        pid = handle.record.pid
        if bus is not None:
            words = map(handle.row.index, (BUS_PUBLISHED, BUS_DELIVERED, BUS_DROPPED))
            counts = MessageCounts(handle.row.cells, *words) if self._counts_messages else None
            self._router.add(pid, bus, bus_state, counts)
        self._handles[pid] = handle
        self._loop.add(handle.channel.fileno(), READ, lambda _: self._read_reports(handle))
        self._loop.add(handle.stack_reader.fileno(), READ, lambda _: self._read_stacks(handle))

    def let_go(self, handle: WorkerHandle) -> None:
        """Take what a worker that has ended has said last, and close its channels."""
        handle.channel.receive_last()
        handle.stack_reader.read()
        self._remove(handle)
        handle.channel.close()
        handle.stack_reader.close()
        handle.generation.give_back(handle.row)
        if handle.clients is not None and handle.generation.clients is not None:
            handle.generation.clients.give_back(handle.clients)

    def close(self) -> None:
        """Close all channels; the workers are left alone."""
        for handle in self._handles.values():
            close_each(handle.channel.close, handle.stack_reader.close)

    def kill_all(self) -> None:
        """Send every worker SIGKILL: only after an error of the host's own."""
        for pid in self._handles:
            self.signal(pid, signal.SIGKILL)

    def _remove(self, handle: WorkerHandle) -> None:
        """Watch the channels no more; they may not all have been watched."""
        self._handles.pop(handle.record.pid, None)
        self._router.remove(handle.record.pid)
        for descriptor in (handle.channel.fileno(), handle.stack_reader.fileno()):
            self._loop.remove(descriptor)

    def _read_reports(self, handle: WorkerHandle) -> None:
        reports = handle.channel.receive()
        if reports is None:  # if the worker has died, its exit says more
            self._loop.remove(handle.channel.fileno())
            return
        for report in reports:
            self._on_report(handle, report)

    def _read_stacks(self, handle: WorkerHandle) -> None:
        if not handle.stack_reader.read():
            self._loop.remove(handle.stack_reader.fileno())


class _Ends(NamedTuple):
    """One side's ends of the channels between supervisor and worker."""

    control: socket.socket
    bus: socket.socket
    stacks: int

    def close(self) -> None:
        self.control.close()
        self.bus.close()
        os.close(self.stacks)


def _ends(ours: ExitStack, theirs: ExitStack) -> tuple[_Ends, _Ends]:
    """Make the channels; the stacks close the ends of each side, also if this fails halfway."""
    pairs = []
    for _ in ("control", "bus"):
        pairs.append(socket.socketpair())
        ours.enter_context(pairs[-1][0])
        theirs.enter_context(pairs[-1][1])
    reader, writer = os.pipe()
    ours.callback(os.close, reader)
    theirs.callback(os.close, writer)
    (control, its_control), (bus, its_bus) = pairs
    return _Ends(control, bus, reader), _Ends(its_control, its_bus, writer)


def _assignment(
    slot: int, generation: Generation, row: Row, its: _Ends, clients: int | None, node: str
) -> Assignment:
    assert generation.handing_out is not None  # workers are started for no other
    counts = generation.clients
    return Assignment(
        slot,
        generation.number,
        parent=os.getpid(),
        control=its.control,
        bus=its.bus,
        node=node,
        stacks=its.stacks,
        listeners=generation.listeners,
        sockets=tuple(listener.sock for listener in generation.sockets),
        shards={group.view.index: group.shards for group in generation.groups},
        scoreboard=generation.scoreboard,
        row=row,
        wake=generation.handing_out.runner.wake,
        clients=None if counts is None or clients is None else counts.row(clients),
        series=generation.series,
    )
