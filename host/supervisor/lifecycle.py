"""The foreman: does with the workers what the pool decides, and hears what becomes of them."""

from __future__ import annotations

import signal
from typing import Protocol, assert_never

from host.errors import ExitCode, LimitsError
from host.ipc import protocol
from host.plugin.binding import HostHooks
from host.runtime import forks, processes, stacks
from host.runtime.loop import Loop, TimerHandle
from host.runtime.signals import Signals
from host.settings import Settings
from host.supervisor.generations import Generation
from host.supervisor.reload.rehearsal import Reloader
from host.supervisor.reload.succession import Succession
from host.supervisor.shutdown import Shutdown
from host.supervisor.workers import states
from host.supervisor.workers.exits import ExitReports
from host.supervisor.workers.handles import WorkerHandle, Workers
from host.supervisor.workers.health import HealthCheck
from host.supervisor.workers.pool import Pool
from host.supervisor.workers.queries import WorkerQueries
from host.telemetry import events
from host.telemetry.emitter import Telemetry

_RETRY_SECONDS = 0.05
_LEAVE_SECONDS = 0.1
"""How long a worker that is told to go waits: a service manager tells all processes at once."""


class Site(Protocol):
    """What the foreman needs of the supervisor."""

    settings: Settings
    loop: Loop
    telemetry: Telemetry
    hooks: HostHooks
    crew: Workers
    pool: Pool
    questions: WorkerQueries
    obituaries: ExitReports
    succession: Succession
    reloads: Reloader
    signals: Signals
    coming: Generation | None
    ending: Shutdown | None

    @property
    def current(self) -> Generation:
        """The newest generation: the one that workers are started for."""

    def become_worker(self) -> None:
        """Close, in a new worker, what is not its generation's."""

    def generation_ready(self) -> None:
        """Go on after all workers of the newest generation have got ready."""

    def begin_wanted_reload(self) -> None:
        """Begin a reload that was asked for while it could not be begun."""

    def run_passes(self) -> None:
        """Look what waits on each listener, and hand it out."""

    def finish(self, code: ExitCode) -> None:
        """End: no worker is left."""


class WorkerLifecycle:
    """Starts, drains, kills and buries workers.

    Args:
        site: the supervisor.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._loop, self._pool, self._crew = site.loop, site.pool, site.crew
        self._telemetry, self._obituaries = site.telemetry, site.obituaries
        self._upkeep = HealthCheck(site.settings.lifecycle)
        self._timer: TimerHandle | None = None

    def carry_out(self, actions: list[states.Action]) -> None:
        """Do what the pool has decided."""
        forks.exit_if_plugin_fork()
        for action in actions:
            match action:
                case states.ForkWorker():
                    self._fork(action.slot)
                case states.DrainWorker():
                    self._order_drain(action)
                case states.DumpWorker():
                    self._crew.signal(action.pid, stacks.SIGNAL)
                case states.AbortWorker():
                    self._obituaries.tell_hung(action.pid)
                    self._crew.signal(action.pid, signal.SIGABRT)
                case states.KillWorker():
                    self._obituaries.tell_killed(action)
                    self._crew.signal(action.pid, signal.SIGKILL)
                case states.AllReady():
                    self._site.generation_ready()
                case states.Finish():
                    self._site.finish(action.code)
                case _:
                    assert_never(action)
        self._arm_pool()

    def _arm_pool(self) -> None:
        due, timer = self._pool.deadline(), self._timer
        if due is None or (timer is not None and timer.when <= due):
            return  # a call that comes too early does nothing, and asks again when to come
        if timer is not None:
            timer.cancel()
        self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.carry_out(self._pool.tick(self._loop.now))

    def _fork(self, slot: int) -> None:
        now = self._loop.now
        try:
            hand = self._crew.fork(
                slot,
                self._site.current,
                forked=lambda pid: self._pool.forked(slot, pid, now),
                close=self._site.become_worker,
            )
        except (OSError, LimitsError) as error:
            seconds = self._pool.fork_failed(slot, now)
            reason = getattr(error, "strerror", None) or str(error)
            self._telemetry.emit(events.FORK_FAILED, slot=slot, error=reason, seconds=seconds)
            return
        self._telemetry.emit(events.WORKER_STARTED, slot=slot, pid=hand.member.pid)

    def _order_drain(self, order: states.DrainWorker) -> None:
        """Tell a worker to drain; a full pipe is tried again until the worker is gone."""
        hand = self._crew.get(order.pid)
        if hand is None:
            return
        if hand.generation.dispatcher is not None:
            hand.generation.dispatcher.gone(order.pid)
        if not hand.channel.send(protocol.drain_order(order.deadline)):
            again = self._loop.now + _RETRY_SECONDS
            self._loop.call_at(again, lambda: self._order_drain(order))

    def hear(self, hand: WorkerHandle, report: protocol.Report) -> None:
        """Go by what a worker reports."""
        match report.kind:
            case "ready":
                self._worker_ready(hand)
            case "leaving":
                due = self._loop.now + _LEAVE_SECONDS
                self._loop.call_at(due, lambda: self.retire(hand, "it was sent SIGTERM"))
            case "plugins":
                told = report.data.get("plugins")
                hand.plugins = [each for each in told if each] if isinstance(told, list) else []
            case "answer":
                self._site.questions.answered(hand.member.pid, report.data)

    def retire(self, hand: WorkerHandle, cause: str) -> None:
        """Have a worker replaced, its successor ready first, unless the host is stopping."""
        if self._site.ending is not None or self._crew.get(hand.member.pid) is None:
            return
        actions = self._pool.retire(hand.member.pid, self._loop.now)
        if actions:
            self._telemetry.emit(
                events.WORKER_RECYCLED, slot=hand.member.slot, pid=hand.member.pid, cause=cause
            )
        self.carry_out(actions)

    def _worker_ready(self, hand: WorkerHandle) -> None:
        member, now = hand.member, self._loop.now
        self._telemetry.emit(
            events.WORKER_READY, slot=member.slot, pid=member.pid, seconds=now - member.born
        )
        actions = self._pool.ready(member.pid, now)
        if member.state is states.WorkerState.READY and hand.generation.dispatcher is not None:
            before = self._site.succession.accepted.get(member.slot, 0)
            hand.generation.dispatcher.ready(hand.row, member.id, before)
        self.carry_out(actions)
        self._site.run_passes()

    def look_after(self) -> None:
        """See to workers that hang or are worn out, and look again later."""
        now = self._loop.now
        hung, worn = self._upkeep.look(self._crew, now)
        for each in hung:
            self._obituaries.note_hung(each.pid, each.seconds)
            cause = "its loop did not turn (hang_seconds)"
            self.carry_out(self._pool.hung(each.pid, now, cause))
            hand = self._crew.get(each.pid)
            if hand is not None and hand.generation.dispatcher is not None:
                hand.generation.dispatcher.gone(each.pid)
        for old in worn:
            hand = self._crew.get(old.pid)
            if hand is not None:
                self.retire(hand, old.cause)
        if hung:
            self._site.run_passes()
        self.keep_signals()
        self._loop.call_at(self._upkeep.next_look(now), self.look_after)

    def keep_signals(self) -> None:
        """Take back the handlers that a plugin has replaced."""
        for number in self._site.signals.restore():
            self._telemetry.emit(events.SIGNAL_RECLAIMED, signal=number.name)

    def reap(self) -> None:
        """Bury all who have ended."""
        self._obituaries.begin()
        for ended in processes.reap():
            hand = self._crew.get(ended.pid)
            if hand is not None:
                self._bury(hand, self._obituaries.explain(hand, ended))
            elif not self._site.reloads.reaped(ended):
                self._telemetry.emit(events.UNKNOWN_CHILD, pid=ended.pid, cause=str(ended))
        self._site.run_passes()

    def _bury(self, hand: WorkerHandle, ended: processes.Exit) -> None:
        """Take leave of one worker: tell the plugins, then do what the pool decides."""
        now, pid = self._loop.now, hand.member.pid
        if hand.generation.dispatcher is not None:
            hand.generation.dispatcher.gone(pid)
        death = self._obituaries.examine(hand, ended)
        self._site.hooks.on_child_exit(death.view)
        forks.exit_if_plugin_fork()
        self._site.succession.bury(hand)
        self._site.questions.gone(pid)
        started_well = hand.member.was_ready or hand.member.expected or self._pool.stopping
        if not started_well and hand.generation is self._site.coming:
            self._site.succession.note_failure(death.cause)
        actions = self._pool.exited(pid, ended.code, ended.signal, now, oom=ended.oom)
        self._obituaries.publish(
            death, failed_to_start=not started_well, plan=self._plan_for(hand.member)
        )
        self.carry_out(actions)
        if not started_well:
            self._site.begin_wanted_reload()

    def _plan_for(self, member: states.WorkerRecord) -> str:
        """Say what comes after the end of a worker."""
        if member.expected or member.retiring or member.generation != self._pool.generation:
            return "it was on its way out"
        pause = self._pool.pause_before(member.slot, self._loop.now)
        if pause:
            return f"replaced in {pause:.1f} s"
        if self._site.settings.respawn and not self._pool.stopping:
            return "replaced at once"
        return "it is not replaced"
