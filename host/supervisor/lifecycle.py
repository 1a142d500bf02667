"""The life of the workers: carries out what the pool decides, and tells it what they do."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from typing import NamedTuple, assert_never

from host.errors import ExitCode, LimitsError
from host.hookspecs import on_child_exit
from host.ipc import protocol
from host.plugin.binding import HostHooks
from host.runtime import forks, processes, stacks
from host.runtime.loop import Loop, TimerHandle
from host.settings import Lifecycle
from host.settings.models import MAX_WORKERS
from host.supervisor.generations import Generations
from host.supervisor.orphans import Orphans
from host.supervisor.shutdown import Shutdown
from host.supervisor.workers import states
from host.supervisor.workers.exits import ExitReports
from host.supervisor.workers.handles import WorkerHandle, Workers
from host.supervisor.workers.health import HealthCheck
from host.supervisor.workers.pool import Pool
from host.supervisor.workers.queries import WorkerQueries
from host.telemetry import events
from host.telemetry.emitter import Telemetry
from host.text import reason

_RETRY_SECONDS = 0.05
_LEAVE_SECONDS = 0.1
"""How long a worker that is told to go waits: a service manager tells all processes at once."""
_TOO_MANY_PROCESSES = (
    " (RLIMIT_NPROC, ulimit -u, or the cgroup's pids.max allows no more processes)"
)


class LifecycleParts(NamedTuple):
    """What the life of the workers is made of.

    Attributes:
        orphans: looks after what plugins leave behind.
        reap: collects the children that have ended.
        is_lost: tells whether a child has ended that `reap` will not collect.
        glance: puts right what plugins have done to this process, after they were called.
        check_descriptors: raises an error if they have closed some that workers are made with.
    """

    loop: Loop
    telemetry: Telemetry
    hooks: HostHooks
    pool: Pool
    workers: Workers
    generations: Generations
    exits: ExitReports
    queries: WorkerQueries
    shutdown: Shutdown
    orphans: Orphans
    reap: Callable[[], Iterable[processes.Exit]] = processes.reap
    is_lost: Callable[[int], bool] = processes.is_lost
    glance: Callable[[], object] = list
    check_descriptors: Callable[[], object] = list


class WorkerLifecycle:
    """Starts, drains, kills and reaps workers.

    Args:
        parts: what it works with.
        limits: when a worker counts as hung, when it is due for replacement, and how long it is
            quiet before a listener is closed.
        become_worker: closes, in a new worker, what the supervisor alone uses.
        on_reload_possible: called when a reload that has been waiting may begin: the host has
            started, a generation has taken over, or a worker has failed to start.
        on_empty: called with the exit code when no worker is left and none is to come.
        on_other_child: called with the end of a process that is no worker; tells whether it is
            one that the host has started.
    """

    def __init__(
        self,
        parts: LifecycleParts,
        limits: Lifecycle,
        *,
        become_worker: Callable[[], object],
        on_reload_possible: Callable[[], object],
        on_empty: Callable[[ExitCode], object],
        on_other_child: Callable[[processes.Exit], bool],
    ) -> None:
        self._parts, self._health = parts, HealthCheck(limits)
        self._quiet_seconds = limits.quiet_seconds
        self._become_worker, self._on_reload_possible = become_worker, on_reload_possible
        self._on_empty, self._on_other_child = on_empty, on_other_child
        self._timer: TimerHandle | None = None

    def start(self) -> None:
        """Fill all slots with workers of the newest generation."""
        self._execute(self._parts.pool.start(self._parts.loop.now))

    def start_none(self) -> None:
        """Start no worker: the newest generation cannot."""
        self._parts.pool.given_up = True

    def drain_all(self, deadline: float) -> None:
        """Have all workers drain until `deadline` (seconds of the loop's clock): the host stops."""
        self._execute(self._parts.pool.stop(self._parts.loop.now, deadline=deadline))

    def end_all(self) -> None:
        """Have all workers end at once: the host stops."""
        self._execute(self._parts.pool.stop(self._parts.loop.now, quick=True))

    def drain_others(self, *kept: int) -> None:
        """Have the workers of all generations drain but of those with these numbers."""
        self._execute(self._parts.pool.drain_others(self._parts.loop.now, but=kept))

    def scale(self, workers: int, cause: str) -> bool:
        """Set the number of workers.

        Args:
            workers: how many there are to be.
            cause: why, for the log.

        Returns:
            False if the number is out of its limits or the host is stopping: nothing has changed.
        """
        parts = self._parts
        if parts.shutdown.begun or not 1 <= workers <= MAX_WORKERS:
            return False
        before = parts.pool.workers
        parts.telemetry.emit(events.WORKERS_SCALED, workers=workers, before=before, cause=cause)
        self._execute(parts.pool.scale(workers, parts.loop.now))
        parts.generations.run_passes()
        return True

    def scale_by(self, workers: int, cause: str) -> None:
        """Add so many workers, or remove some if negative; nothing happens beyond the limits."""
        self.scale(self._parts.pool.workers + workers, cause)

    def retire(self, handle: WorkerHandle, cause: str) -> bool:
        """Have a worker replaced, its successor ready first.

        Returns:
            False if it is not to be replaced: it has ended or is about to, the host is stopping, or
            another generation is to take over.
        """
        parts, record = self._parts, handle.record
        if parts.shutdown.begun or parts.workers.get(record.pid) is None:
            return False
        if record.is_leaving():
            return False
        actions = parts.pool.retire(record.pid, parts.loop.now)
        leaves = record.is_leaving()  # even if its successor has to wait for the next moment
        if leaves:
            parts.telemetry.emit(
                events.WORKER_RECYCLED, slot=record.slot, pid=record.pid, cause=cause
            )
        self._execute(actions)
        return leaves

    def handle_report(self, handle: WorkerHandle, report: protocol.Report) -> None:
        """Act on what a worker reports."""
        match report.kind:
            case "ready":
                self._handle_ready(handle)
            case "leaving":
                due = self._parts.loop.now + _LEAVE_SECONDS
                self._parts.loop.call_at(due, lambda: self.retire(handle, "it was sent SIGTERM"))
            case "plugins":
                told = report.data.get("plugins")
                handle.plugins = [each for each in told if each] if isinstance(told, list) else []
            case "released":
                self._parts.generations.take_released(handle.record.pid, report.data.get("shards"))
            case "answer":
                self._parts.queries.take_answer(handle.record.pid, report.data)

    def reap(self) -> None:
        """Handle the end of each child that has ended."""
        parts, orphans = self._parts, self._parts.orphans
        look = orphans.look  # before plugins are told
        for ended in parts.reap():
            handle = parts.workers.get(ended.pid)
            # After a rehearsal this process may execute itself: there is no next turn.
            (look if handle else orphans.look)(ended.pid)
            look = orphans.look_soon
            if handle is not None:
                self._handle_exit(handle, parts.exits.add_out_of_memory(handle, ended))
            elif not self._on_other_child(ended):
                parts.telemetry.emit(events.UNKNOWN_CHILD, pid=ended.pid, cause=str(ended))
        parts.generations.run_passes()

    def check_health(self) -> float:
        """End workers that hang, replace those that are due for it; return when to look again."""
        parts, now = self._parts, self._parts.loop.now
        for each in parts.workers:
            record = each.record
            ends = each.channel.ended or record.state is states.WorkerState.ENDING
            if ends and parts.is_lost(record.pid):
                parts.orphans.look(record.pid)
                self._handle_exit(each, processes.Exit(record.pid, None, None))
        hung, due = self._health.look(parts.workers, now)
        for one in hung:
            parts.exits.record_hang(one.pid, one.seconds)
            cause = "it did not get on (hang_seconds)"
            self._execute(parts.pool.hung(one.pid, now, cause))
            handle = parts.workers.get(one.pid)
            if handle is not None:
                handle.generation.remove_candidate(one.pid)
        for old in due:
            handle = parts.workers.get(old.pid)
            if handle is not None:
                self.retire(handle, old.cause)
        if hung:
            parts.generations.run_passes()
        return self._health.next_look(now)

    def resume(self) -> None:
        """Go on after a turn that was broken off: reap, and do what is due."""
        self.reap()
        self._on_timer()

    def _execute(self, actions: list[states.Action]) -> None:
        """Do what the pool has decided."""
        forks.exit_if_plugin_fork()
        parts = self._parts
        for action in actions:
            match action:
                case states.ForkWorker():
                    self._fork(action.slot)
                case states.DrainWorker():
                    self._order_drain(action)
                case states.DumpWorker():
                    parts.workers.signal(action.pid, stacks.SIGNAL)
                case states.AbortWorker():
                    parts.exits.report_hang(action.pid)
                    parts.workers.signal(action.pid, signal.SIGABRT)
                case states.KillWorker():
                    parts.exits.report_kill(action)
                    parts.workers.signal(action.pid, signal.SIGKILL)
                case states.AllReady():
                    self._handle_all_ready()
                case states.Finish():
                    self._on_empty(action.code)
                case _:
                    assert_never(action)
        self._arm_timer()

    def _arm_timer(self) -> None:
        due, timer = self._parts.pool.deadline(), self._timer
        if due is None or (timer is not None and timer.when <= due):
            return  # a call that comes too early does nothing, and asks again when to come
        if timer is not None:
            timer.cancel()
        self._timer = self._parts.loop.call_at(due, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._execute(self._parts.pool.tick(self._parts.loop.now))

    def _fork(self, slot: int) -> None:
        parts = self._parts
        if parts.pool.stopping:  # a fork before this one, of the same turn, has failed
            return
        try:
            handle = parts.workers.fork(
                slot,
                parts.generations.current,
                # Seven forks may have gone before in this turn: each worker has its whole time.
                forked=lambda pid: parts.pool.forked(slot, pid, parts.loop.time()),
                close=self._become_worker,
            )
        except (OSError, LimitsError) as error:
            self._handle_fork_failed(slot, error)
            return
        except Exception as error:  # what a plugin has taken away: it is tried again
            self._handle_fork_failed(slot, error)
            raise
        parts.telemetry.emit(events.WORKER_STARTED, slot=slot, pid=handle.record.pid)

    def _handle_fork_failed(self, slot: int, error: Exception) -> None:
        """Try again later, or end the host if this is its first start."""
        parts, now, cause = self._parts, self._parts.loop.now, reason(error)
        if isinstance(error, BlockingIOError):  # EAGAIN (fork(2))
            cause += _TOO_MANY_PROCESSES
        actions = parts.pool.fork_failed(slot, now)
        seconds = parts.pool.pause_before(slot, now)
        if seconds is None:
            cause = f"it cannot be forked: {cause}"
            parts.telemetry.emit(events.WORKER_START_FAILED, slot=slot, cause=cause, traceback="")
        else:
            parts.telemetry.emit(events.FORK_FAILED, slot=slot, error=cause, seconds=seconds)
        self._execute(actions)

    def _order_drain(self, order: states.DrainWorker) -> None:
        """Tell a worker to drain; a full pipe is tried again until the worker is gone."""
        handle = self._parts.workers.get(order.pid)
        if handle is None:
            return
        handle.generation.remove_candidate(order.pid)
        self._parts.generations.deal_shards()  # to others; it hears of that first
        if not handle.channel.send(protocol.drain_order(order.deadline)):
            again = self._parts.loop.now + _RETRY_SECONDS
            self._parts.loop.call_at(again, lambda: self._order_drain(order))

    def _handle_ready(self, handle: WorkerHandle) -> None:
        parts, record, now = self._parts, handle.record, self._parts.loop.now
        parts.telemetry.emit(
            events.WORKER_READY, slot=record.slot, pid=record.pid, seconds=now - record.born
        )
        actions = parts.pool.ready(record.pid, now)
        if record.state is states.WorkerState.READY:
            before = parts.generations.accepted.get(record.slot, 0)
            handle.generation.add_candidate(handle.row, record.id, before)
        self._execute(actions)
        parts.generations.run_passes()

    def _handle_all_ready(self) -> None:
        """Go on after all workers of the newest generation have got ready."""
        parts = self._parts
        if parts.generations.coming is None:
            parts.telemetry.emit(events.HOST_READY, workers=parts.pool.workers)
            self._on_reload_possible()
        elif not parts.shutdown.begun:
            parts.generations.switch(self._handle_switched, self._quiet_seconds)

    def _handle_switched(self) -> None:
        """Have the generations before drain: the new one has taken over."""
        self.drain_others(self._parts.generations.serving.number)
        self._parts.generations.run_passes()
        self._on_reload_possible()

    def _handle_exit(self, handle: WorkerHandle, ended: processes.Exit) -> None:
        """Tell the plugins of a worker's end, free what it had, and do what the pool decides."""
        parts, record, now = self._parts, handle.record, self._parts.loop.now
        pid, generation = record.pid, handle.generation
        generation.remove_candidate(pid)
        report = parts.exits.make(handle, ended)
        if on_child_exit in parts.hooks.heard:
            parts.hooks.tell(on_child_exit, report.view)
            forks.exit_if_plugin_fork()
            parts.glance()
            parts.orphans.pass_over()
        served = handle.served
        parts.workers.let_go(handle)
        parts.generations.worker_gone(record.slot, pid, served, generation)
        parts.queries.forget_worker(pid)
        started_well = record.was_ready or record.expected or parts.pool.stopping
        if not started_well:
            parts.check_descriptors()
        if not started_well and generation is parts.generations.coming:
            parts.generations.note_failure(report.cause)
        actions = parts.pool.exited(pid, ended.code, ended.signal, now, oom=ended.oom)
        parts.exits.publish(report, failed_to_start=not started_well, plan=self._plan_for(record))
        self._execute(actions)
        if not started_well:
            self._on_reload_possible()

    def _plan_for(self, record: states.WorkerRecord) -> str:
        """Say what comes after the end of a worker."""
        pool = self._parts.pool
        if record.expected or record.retiring or record.generation != pool.generation:
            return "it was on its way out"
        pause = pool.pause_before(record.slot, self._parts.loop.now)
        if pause:
            return f"replaced in {pause:.1f} s"
        if pool.policy.respawn and not pool.stopping:
            return "replaced at once"
        return "it is not replaced"
