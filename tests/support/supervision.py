"""The parts of a supervisor without a process: workers are handed out, all else is real.

The loop's time is set by the test. Listeners, scoreboards and channels are real descriptors.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

from host.bus.supervisor_end import BusRouter
from host.hookspecs import on_child_exit
from host.ipc.host_counts import HostCounts
from host.ipc.protocol import Instruction, OrderParser, Report
from host.ipc.scoreboard import ACCEPTED_ALL
from host.ipc.supervisor_end import SupervisorChannel
from host.plugin.circuit_breaker import CircuitBreaker
from host.runtime.loop import READ
from host.runtime.processes import Exit
from host.runtime.stacks import StackReader
from host.settings import Breaker
from host.settings import Lifecycle as Limits
from host.supervisor.certificates import CertificateRotation, RotationParts
from host.supervisor.generation import Generation
from host.supervisor.generations import Generations
from host.supervisor.lifecycle import LifecycleParts, WorkerLifecycle
from host.supervisor.shutdown import Shutdown
from host.supervisor.status import HostState
from host.supervisor.workers.exits import ExitReports
from host.supervisor.workers.handles import WorkerHandle, Workers
from host.supervisor.workers.last_call import LastCall
from host.supervisor.workers.pool import Pool
from host.supervisor.workers.queries import WorkerQueries
from host.supervisor.workers.states import PoolPolicy, WorkerRecord, WorkerState
from support.fakes import FakeLoop, Told
from support.generations import again, dispatching, listening

NO_PROCESS = 5_000_000
"""Pids from here on are nobody's: the kernel's largest is 4,194,304 (proc(5), pid_max)."""


class WorkerEnds:
    """A worker's ends of its channels."""

    def __init__(self, control: socket.socket, bus: socket.socket, stacks: int) -> None:
        control.setblocking(False)
        bus.setblocking(False)
        self.control, self.bus, self.stacks = control, bus, stacks
        self._orders = OrderParser()

    def report(self, kind: str, **fields: Any) -> None:
        self.control.sendall(Report(kind, **fields).line())

    def told(self) -> list[Instruction]:
        """Return what the worker was told since this was last asked."""
        found = []
        with suppress(BlockingIOError):
            while data := self.control.recv(1 << 20):
                found += self._orders.feed(data)
        return found

    def close(self) -> None:
        self.control.close()
        self.bus.close()
        os.close(self.stacks)


class FakeWorkers(Workers):
    """Workers that are no processes: each has its channels, and the test has the other ends.

    Attributes:
        ends: the workers' ends of the channels, by pid.
        signals: pid and number of each signal that was sent.
        refusals: what the next forks raise.
        fork_seconds: how long each fork takes.
    """

    def __init__(self, loop: Any, router: BusRouter, on_report: Any) -> None:
        super().__init__(loop, router, on_report=on_report, run_worker=lambda _: 1)
        self.ends: dict[int, WorkerEnds] = {}
        self.signals: list[tuple[int, int]] = []
        self.refusals: list[Exception] = []
        self.fork_seconds = 0.0
        self.next_pid = NO_PROCESS

    def fork(self, slot, generation, *, forked, close):  # type: ignore[no-untyped-def]
        if self.refusals:
            raise self.refusals.pop(0)
        self._loop.turn_seconds += self.fork_seconds  # type: ignore[attr-defined]
        pid, self.next_pid = self.next_pid, self.next_pid + 1
        handle = self.take_in(WorkerRecord(slot, pid, 0.0, WorkerState.STARTING, None), generation)
        handle.record = forked(pid)
        return handle

    def signal(self, pid: int, number: int) -> None:
        self.signals.append((pid, number))

    def take_in(self, record: WorkerRecord, generation: Generation) -> WorkerHandle:
        """Add a worker that is described by this record."""
        control, its_control = socket.socketpair()
        bus, its_bus = socket.socketpair()
        reader, writer = os.pipe()
        self.ends[record.pid] = WorkerEnds(its_control, its_bus, writer)
        row = generation.take_row(record.slot)
        channel, stacks = SupervisorChannel(control), StackReader(reader)
        handle = WorkerHandle(record, generation, row, channel, stacks, row.get(ACCEPTED_ALL))
        self.add(handle, bus)
        return handle


class FakeOrphans:
    """Looks for no processes.

    Attributes:
        calls: what it was told to do, each with the pid that it got.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def look(self, pid: int) -> None:
        self.calls.append(("now", pid))

    def look_soon(self, pid: int) -> None:
        self.calls.append(("soon", pid))

    def pass_over(self) -> None:
        self.calls.append(("pass over", 0))


class Site:
    """The parts of a supervisor, wired as it wires them.

    Args:
        workers: how many workers the settings ask for.
        coming: whether another generation than the one that serves is to take over. It has the
            number 1, and a worker of generation 0 serves in each slot.
        lost: how many listeners of generation 0 generation 1 does not have.
        limits: the settings of the workers' life.
        respawn: whether workers are replaced.

    Attributes:
        ended: what is reaped next.
        lost: the pids of workers that somebody else has reaped.
        orphans: what would look after processes that are left behind.
        child_exits: what plugins were told of workers that ended.
        settled, finished, others: calls of on_reload_possible, and what on_empty and
            on_other_child got.
        known: the pids that on_other_child says are the host's own.
    """

    def __init__(
        self,
        workers: int = 2,
        *,
        coming: bool = False,
        lost: int = 0,
        limits: Limits | None = None,
        respawn: bool = True,
    ) -> None:
        self.limits = limits or Limits()
        self.loop, self.told = FakeLoop(100.0), Told()
        loop: Any = self.loop
        telemetry = self.told.telemetry
        self.child_exits: list[Any] = []
        self.settled = 0
        self.finished: list[Any] = []
        self.others: list[Exit] = []
        self.known: set[int] = set()
        self.ended: list[Exit] = []
        self.lost: set[int] = set()
        self.router = BusRouter(loop, telemetry)
        self.workers = FakeWorkers(
            loop,
            self.router,
            on_report=lambda *report: self.lifecycle.handle_report(*report),  # noqa: PLW0108
        )
        self.dispatching = dispatching(loop, telemetry, self.workers.send)
        self.generations = self._make_generations(workers, coming, lost)
        policy = PoolPolicy(
            workers,
            respawn,
            self.limits.start_timeout_seconds,
            self.limits.drain_timeout_seconds,
            self.limits.respawn_backoff_max_seconds,
            self.generations.current.number,
        )
        self.pool = Pool(policy, [each.record for each in self.workers], jitter=lambda: 0.5)
        self.shutdown = Shutdown(
            loop,
            telemetry,
            self.generations,
            self.limits,
            on_closed=lambda deadline: self.lifecycle.drain_all(deadline),  # noqa: PLW0108
        )
        self.counts = HostCounts()
        self.exits = ExitReports(loop, self.workers, telemetry, LastCall({}), self.counts)
        self.queries = WorkerQueries(loop, self.workers.send)
        self.orphans: Any = FakeOrphans()
        self.lifecycle = WorkerLifecycle(
            LifecycleParts(
                loop=loop,
                telemetry=telemetry,
                hooks=SimpleNamespace(tell=self._tell, heard={on_child_exit}),  # type: ignore[arg-type]
                pool=self.pool,
                workers=self.workers,
                generations=self.generations,
                exits=self.exits,
                queries=self.queries,
                shutdown=self.shutdown,
                orphans=self.orphans,
                reap=self._reap,
                is_lost=self.lost.__contains__,
            ),
            self.limits,
            become_worker=lambda: None,
            on_reload_possible=self._settle,
            on_empty=self.finished.append,
            on_other_child=self._is_known,
        )
        self.state = HostState(
            certificates=CertificateRotation(
                None, RotationParts(loop, telemetry, self.generations, self.workers, self.queries)
            ),
            name="prefork",
            version="1.2.3",
            pid=NO_PROCESS - 1,
            started=90.0,
            started_at=1_700_000_000.0,
            loop=loop,
            breaker=CircuitBreaker(Breaker(), (), telemetry),
            pool=self.pool,
            workers=self.workers,
            exits=self.exits,
            generations=self.generations,
            shutdown=self.shutdown,
            counts=self.counts,
        )

    def _make_generations(self, workers: int, coming: bool, lost: int) -> Generations:
        loop: Any = self.loop
        sockets = listening(1 + lost)
        serving = Generation(0, [each.view for each in sockets], sockets)
        self.dispatching.prepare(serving)
        serving.handing_out.runner.start()
        if not coming:
            return Generations(loop, self.told.telemetry, serving)
        shared = again(sockets[:1])
        new = Generation(1, [each.view for each in shared], shared)
        new.began = 97.5
        self.dispatching.prepare(new)
        for slot in range(workers):
            record = WorkerRecord(slot, 1 + slot + NO_PROCESS * 2, 10.0, WorkerState.READY, None, 0)
            record.was_ready = True
            handle = self.workers.take_in(record, serving)
            serving.add_candidate(handle.row, record.id, 0)
        return Generations(loop, self.told.telemetry, serving, coming=new)

    def _tell(self, hook: object, child: Any) -> None:
        assert hook is on_child_exit
        self.child_exits.append(child)

    def _reap(self) -> Iterator[Exit]:
        while self.ended:
            yield self.ended.pop(0)

    def _settle(self) -> None:
        self.settled += 1

    def _is_known(self, ended: Exit) -> bool:
        self.others.append(ended)
        return ended.pid in self.known

    def find(self, slot: int, generation: int | None = None) -> WorkerHandle:
        """Return the newest worker of a slot, perhaps of this generation."""
        return [
            each
            for each in self.workers
            if each.record.slot == slot and generation in (None, each.record.generation)
        ][-1]

    def ends(self, handle: WorkerHandle) -> WorkerEnds:
        return self.workers.ends[handle.record.pid]

    def hear(self, handle: WorkerHandle) -> None:
        """Read what a worker has reported."""
        self.loop.handlers[handle.channel.fileno()](READ)

    def report(self, handle: WorkerHandle, kind: str, **fields: Any) -> None:
        """Have a worker report something, and read it."""
        self.ends(handle).report(kind, **fields)
        self.hear(handle)

    def start(self) -> list[WorkerHandle]:
        """Start all workers of the newest generation, have them get ready, and return them."""
        self.lifecycle.start()
        current = self.generations.current
        started = [each for each in self.workers if each.generation is current]
        for each in started:
            self.report(each, "ready")
        return started

    def end(self, *handles: WorkerHandle, code: int | None = 0, signal: int | None = None) -> None:
        """Have workers end, and reap them."""
        self.ended += [Exit(each.record.pid, code, signal) for each in handles]
        self.lifecycle.reap()

    def close(self) -> None:
        self.workers.close()
        self.router.close()
        for ends in self.workers.ends.values():
            ends.close()
        self.generations.close()


@contextmanager
def site(**arguments: Any) -> Iterator[Site]:
    """Make a site, and see that it leaves no descriptor open."""
    before = sorted(os.listdir("/proc/self/fd"))
    made = Site(**arguments)
    try:
        yield made
    finally:
        made.close()
    assert sorted(os.listdir("/proc/self/fd")) == before
