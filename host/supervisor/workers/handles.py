"""The crew: the living workers with the supervisor's ends of their channels."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from host.bus.supervisor_end import BusRouter
from host.ipc.assignment import Assignment
from host.ipc.heartbeat import Reading
from host.ipc.protocol import Report
from host.ipc.scoreboard import ACCEPTED_ALL, TURN_LASTED, TURN_STARTED, Row
from host.ipc.supervisor_end import SupervisorChannel
from host.runtime import forks, processes, stacks
from host.runtime.loop import READ, Loop
from host.supervisor.generations import Generation
from host.supervisor.reload import handover
from host.supervisor.workers.states import KillWorker, WorkerRecord, WorkerState


@dataclass(slots=True, eq=False)
class WorkerHandle:
    """One living worker.

    Attributes:
        member: what the pool knows of it.
        generation: its generation.
        row: its row of the scoreboard.
        channel: its control channel.
        printed: the stacks that it has printed.
        served_before: connections that were accepted in its row before it.
        held: whether an operator keeps new connections from it.
        plugins: its plugins that are left out at the moment, as it has told.
    """

    member: WorkerRecord
    generation: Generation
    row: Row
    channel: SupervisorChannel
    printed: stacks.StackReader
    served_before: int
    held: bool = False
    plugins: list[dict[str, Any]] = field(default_factory=list)

    @property
    def served(self) -> int:
        """How many connections it has accepted."""
        return self.row.get(ACCEPTED_ALL) - self.served_before

    @property
    def reading(self) -> Reading:
        """What its loop shows."""
        return Reading(self.member.pid, self.row.get(TURN_STARTED), self.row.get(TURN_LASTED))


class Workers:
    """Forks workers, takes them over, hears their reports, and lets go of them.

    Args:
        heard: called with a worker and a report of it.
        run_worker: what a worker does in its process; returns the exit code.
    """

    def __init__(
        self,
        loop: Loop,
        exchange: BusRouter,
        *,
        heard: Callable[[WorkerHandle, Report], object],
        run_worker: Callable[[Assignment], int],
    ) -> None:
        self._loop, self._exchange = loop, exchange
        self._heard, self._run_worker = heard, run_worker
        self._hands: dict[int, WorkerHandle] = {}

    def __iter__(self) -> Iterator[WorkerHandle]:
        return iter(tuple(self._hands.values()))

    def get(self, pid: int) -> WorkerHandle | None:
        """Return the worker with this pid, if there is one."""
        return self._hands.get(pid)

    def send(self, pid: int, data: bytes) -> bool:
        """Send to a worker without waiting; False if it was not taken."""
        hand = self._hands.get(pid)
        return hand is not None and hand.channel.send(data)

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
        with ExitStack() as theirs, ExitStack() as ours:
            mine, its = _ends(ours, theirs)
            row = generation.take_row()
            ours.callback(generation.give_back, row)
            assignment = _assignment(slot, generation, row, its)

            def become_worker() -> int:
                mine.close()
                close()
                return self._run_worker(assignment)

            pid = processes.fork(become_worker)
            try:
                hand = self._take_in_new(pid, assignment, mine, generation)
            except OSError:  # ENOSPC or ENOMEM of epoll_ctl(2): as if it had not been forked
                self.signal(pid, signal.SIGKILL)
                self._forget(pid, mine)
                raise
            ours.pop_all()
        hand.member = forked(pid)
        return hand

    def _take_in_new(
        self, pid: int, assignment: Assignment, mine: _Ends, generation: Generation
    ) -> WorkerHandle:
        self._exchange.add(pid, mine.bus)
        member = WorkerRecord(
            assignment.slot, pid, 0.0, WorkerState.STARTING, None
        )  # until the pool has one
        row, channel = assignment.row, SupervisorChannel(mine.control)
        printed = stacks.StackReader(mine.stacks)
        hand = WorkerHandle(member, generation, row, channel, printed, row.get(ACCEPTED_ALL))
        self._take_in(hand)
        return hand

    def adopt(self, worker: handover.Worker, generation: Generation) -> WorkerHandle:
        """Take over a worker that was there before an exec."""
        member = WorkerRecord(
            worker.slot,
            worker.pid,
            worker.born,
            WorkerState(worker.state),
            worker.deadline,
            worker.generation,
            was_ready=worker.was_ready,
            expected=worker.expected,
        )
        if member.state is WorkerState.ENDING:
            member.forced_end = (
                (KillWorker(member.pid, "it was about to be killed before the reload"), 0.0),
            )
        control = socket.socket(fileno=worker.control)
        hand = WorkerHandle(
            member,
            generation,
            generation.scoreboard.row(worker.row),
            SupervisorChannel(control, worker.rest),
            stacks.StackReader(worker.stacks),
            worker.served_before,
            held=worker.held,
            plugins=json.loads(worker.plugins),
        )
        bus = worker.bus
        if bus is not None:
            sock = socket.socket(fileno=bus.fd)
            self._exchange.add(worker.pid, sock, (bus.rest, bus.queued, bus.dropped))
        self._take_in(hand)
        return hand

    def hand_over(self, hand: WorkerHandle) -> handover.Worker:
        """Return all that `adopt` needs."""
        member = hand.member
        bus = self._exchange.state(member.pid)
        return handover.Worker(
            slot=member.slot,
            pid=member.pid,
            generation=member.generation,
            row=hand.row.number,
            born=member.born,
            state=member.state.value,
            deadline=member.deadline,
            was_ready=member.was_ready,
            expected=member.expected,
            served_before=hand.served_before,
            control=hand.channel.fileno(),
            rest=hand.channel.rest,
            stacks=hand.printed.fileno(),
            bus=None
            if bus is None
            else handover.Bus(fd=bus[0], rest=bus[1][0], queued=bus[1][1], dropped=bus[1][2]),
            held=hand.held,
            plugins=json.dumps(hand.plugins),
        )

    def let_go(self, hand: WorkerHandle) -> None:
        """Take what a worker that has ended has said last, and close its channels."""
        pid = hand.member.pid
        del self._hands[pid]
        hand.channel.receive_last()
        hand.printed.read()
        for end in (hand.channel, hand.printed):
            self._loop.remove(end.fileno())
            end.close()
        self._exchange.remove(pid)
        hand.generation.give_back(hand.row)

    def close(self) -> None:
        """Close all channels; the workers are left alone."""
        for hand in self._hands.values():
            hand.channel.close()
            hand.printed.close()

    def kill_all(self) -> None:
        """Send every worker SIGKILL: only after an error of the host's own."""
        for pid in self._hands:
            self.signal(pid, signal.SIGKILL)

    def _take_in(self, hand: WorkerHandle) -> None:
        self._hands[hand.member.pid] = hand
        self._loop.add(hand.channel.fileno(), READ, lambda _: self._listen(hand))
        self._loop.add(hand.printed.fileno(), READ, lambda _: self._read(hand))

    def _forget(self, pid: int, mine: _Ends) -> None:
        """Undo what was done to take in a worker."""
        self._hands.pop(pid, None)
        self._exchange.remove(pid)
        for descriptor in (mine.control.fileno(), mine.stacks):
            self._loop.remove(descriptor)

    def _listen(self, hand: WorkerHandle) -> None:
        reports = hand.channel.receive()
        if reports is None:  # if the worker has died, its exit says more
            self._loop.remove(hand.channel.fileno())
            return
        for report in reports:
            self._heard(hand, report)

    def _read(self, hand: WorkerHandle) -> None:
        if not hand.printed.read():
            self._loop.remove(hand.printed.fileno())


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


def _assignment(slot: int, generation: Generation, row: Row, its: _Ends) -> Assignment:
    assert generation.passes is not None
    return Assignment(
        slot,
        generation.number,
        parent=os.getpid(),
        control=its.control,
        bus=its.bus,
        stacks=its.stacks,
        listeners=generation.listeners,
        sockets=tuple(listener.sock for listener in generation.sockets),
        scoreboard=generation.scoreboard,
        row=row,
        wake=generation.passes.wake,
    )
