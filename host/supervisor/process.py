"""The supervisor: puts its parts together, and runs them from the first fork to the last exit."""

from __future__ import annotations

import functools
import gc
import math
import signal
from collections.abc import Sequence

from host.bus.supervisor_end import BusRouter
from host.errors import ExitCode, Interrupted, LimitsError, PluginError
from host.hookspecs import on_host_start
from host.net.listeners import ListeningSocket
from host.plugin.circuit_breaker import CircuitBreaker
from host.plugin.failures import Failures, failed_start
from host.plugin.interference import leaves_process_alone
from host.runtime import forks, lineage
from host.runtime.descriptors import close_each
from host.runtime.loop import Loop, TimerHandle
from host.runtime.processes import Exit
from host.runtime.signals import Handler
from host.settings import Settings
from host.supervisor.assembly import (
    begin_repair,
    lifecycle_parts,
    make_bridge,
    make_dispatching,
    make_generations,
    make_helpers,
    make_ops,
    make_orphans,
    make_reloader,
    make_rotation,
    make_service_manager,
    make_state,
    open_control,
)
from host.supervisor.dependencies import Dependencies, Starters, view_of
from host.supervisor.generation import Generation
from host.supervisor.lifecycle import WorkerLifecycle
from host.supervisor.log_reopening import LogReopening
from host.supervisor.measuring import Measuring
from host.supervisor.recent import noting
from host.supervisor.reload.takeover import TakeoverParts, end_stand_in
from host.supervisor.repair import Repair, Residents
from host.supervisor.scheduler_swap import SchedulerSwap
from host.supervisor.shutdown import Shutdown
from host.supervisor.signal_handlers import signal_handlers
from host.supervisor.status import HostState
from host.supervisor.workers.handles import Workers
from host.supervisor.workers.queries import WorkerQueries
from host.telemetry import events
from host.text import reason

_ONE_REQUEST_SECONDS = 0.5
"""A Ctrl-C may come twice: from the terminal, and, as any signal, from who has started the host."""


class Supervisor:
    """The parent process. It never reads a byte of a client's.

    Args:
        settings: the validated settings.
        sockets: the bound listeners of the generation to start; the supervisor closes them.
        dependencies: what else it is made of.
    """

    def __init__(
        self, settings: Settings, sockets: Sequence[ListeningSocket], dependencies: Dependencies
    ) -> None:
        self._settings, self._dependencies = settings, dependencies
        telemetry = dependencies.telemetry
        self._code, self._asked_to_stop = ExitCode.OK, -math.inf
        breaker = self._bind_hooks(sockets)
        self._loop = loop = Loop(settings.limits.max_events)
        dependencies.log.attend(loop.call_later, loop.call_from_thread)
        bridge = make_bridge(settings, loop, telemetry)
        self._router = bridge.router if bridge else BusRouter(loop, telemetry)
        self._workers = workers = Workers(
            loop,
            self._router,
            on_report=lambda handle, report: self._lifecycle.handle_report(handle, report),  # noqa: PLW0108
            run_worker=dependencies.run_worker,
            counts_messages=bool(settings.ops.listen),
        )
        dispatching = make_dispatching(
            settings, dependencies, loop, self._hooks, workers, self._failures
        )
        parts = TakeoverParts(loop, telemetry, self._router, workers, dispatching, bridge)
        self._generations = generations = make_generations(
            sockets, dependencies, parts, counts_clients=settings.counts_clients
        )
        self._shutdown = Shutdown(
            loop,
            telemetry,
            generations,
            settings.lifecycle,
            on_closed=lambda deadline: self._lifecycle.drain_all(deadline),  # noqa: PLW0108
        )
        self._signals = dependencies.signals
        queries = WorkerQueries(loop, workers.send, workers.send_descriptor)
        self._certificates = make_rotation(dependencies, parts, generations, queries)
        state = make_state(
            settings,
            dependencies,
            breaker,
            parts,
            generations,
            self._shutdown,
            self._certificates,
        )
        self._counts = state.counts
        self._note = noting(workers, loop)
        telemetry.subscribe(self._note)
        residents = Residents.of(dependencies.registry)
        self._repair = Repair(residents, telemetry, dependencies.owner, loop.time)
        self._next_look: TimerHandle | None = None
        self._make_actors(state, queries, breaker)
        forks.close_in_plugin_fork(dependencies.log.mute)
        forks.close_in_plugin_fork(telemetry.silence)
        forks.close_in_plugin_fork(self._close_in_fork)

    def _bind_hooks(self, sockets: Sequence[ListeningSocket]) -> CircuitBreaker:
        """Bind the hooks that the supervisor calls; return what leaves out plugins that fail."""
        settings, given = self._settings, self._dependencies
        registry = given.registry
        self._failures = Failures(given.telemetry)
        breaker = CircuitBreaker(settings.breaker, registry.never_left_out, given.telemetry)
        self._measuring = Measuring(settings, registry, (each.view.address for each in sockets))
        self._failures.observers += self._measuring.observers()
        self._hooks = registry.host_hooks(
            self._failures, breaker=breaker, timed=self._measuring.timed
        )
        return breaker

    def _make_actors(
        self, state: HostState, queries: WorkerQueries, breaker: CircuitBreaker
    ) -> None:
        """Make what acts on the state of the host: at signals, at commands, and by itself."""
        dependencies, settings, loop = self._dependencies, self._settings, self._loop
        telemetry, workers = dependencies.telemetry, self._workers
        self._service = make_service_manager(state, dependencies)
        self._ops = make_ops(state, settings, dependencies, self._become_helper)
        self._reloader = make_reloader(
            state, settings, dependencies, self._router, self._service, self._ops
        )
        self._helpers = make_helpers(state, dependencies, self._ops, self._become_helper)
        self._orphans = make_orphans(state, dependencies, self._reloader, self._helpers)
        self._log_reopening = LogReopening(loop, telemetry, dependencies.log, workers, queries)
        self._lifecycle = WorkerLifecycle(
            lifecycle_parts(state, telemetry, self._hooks, queries, self._orphans, self._repair),
            settings.lifecycle,
            become_worker=self._become_worker,
            on_reload_possible=self._reloader.begin_wanted,
            on_other_child=self._handle_other_exit,
            on_empty=self._finish,
        )
        swap = SchedulerSwap(
            settings,
            dependencies,
            self._failures,
            breaker,
            state.generations,
            self._ops.renew,
            self._repair.add,
        )
        self._control = open_control(
            state, dependencies, self._lifecycle, queries, self._reloader, swap.load, self.stop
        )

    def _handle_other_exit(self, ended: Exit) -> bool:
        return self._reloader.handle_exit(ended) or self._helpers.handle_exit(ended)

    def _signal_handlers(self) -> dict[signal.Signals, Handler]:
        return signal_handlers(
            on_stop=self._on_stop_signal,
            stop_now=lambda number: self.stop(number.name, quick=True),
            reload=lambda number: self._reloader.request(number.name),
            scale_by=lambda number, workers: self._lifecycle.scale_by(workers, number.name),
            reopen_log=self._reopen_log,
            reap=lambda _: self._lifecycle.reap(),
        )

    def run(self) -> ExitCode:
        """Start the workers, serve until told to stop, and return the exit code.

        Raises:
            PluginError: a plugin's `on_host_start` failed; nothing was started.
            LimitsError: there is no memory for what plugins count; nothing was started.
        """
        self._dependencies.batch.begin()
        try:
            self._start()
            self._serve()
            return self._code
        except Interrupted as stop:
            self._dependencies.telemetry.emit(events.HOST_STOPPING_NOW, cause=stop.cause)
            return self._code
        finally:
            # Nothing is left behind: no child, no socket file, no descriptor.
            close_each(self._service.end, self._workers.kill_all)
            self._counts.is_ending = True
            close_each(
                self._helpers.end,
                self._orphans.end,
                self._close_own,
                self._generations.close,
                self._dependencies.batch.end,
            )

    def _start(self) -> None:
        given, generations, loop = self._dependencies, self._generations, self._loop
        mine, handed = generations.current, given.handed
        mine.series = self._measuring.own
        failed = given.failed or self._tell_plugins(mine)
        self._signals.begin(self._signal_handlers(), loop)
        loop.on_turn_end = self._on_turn_end
        self._service.begin()
        if handed is not None:
            end_stand_in(handed, generations, self._workers, self._counts)
        self._orphans.begin()
        loop.refresh()
        generations.handing_out.runner.start()
        # What was allocated so far stays as it is: no collector of any worker writes to it, so its
        # pages stay shared.
        gc.collect()
        gc.freeze()
        begin_repair(self._repair, loop, generations, given)
        self._check_health()
        # A generation that was to come before this one never will.
        self._lifecycle.drain_others(generations.serving.number, mine.number)
        if failed:
            self._lifecycle.start_none()
            generations.note_failure(failed)
        else:
            if handed is not None:
                given.telemetry.emit(
                    events.GENERATION_STARTING,
                    generation=mine.number,
                    workers=self._settings.workers,
                )
                generations.note_outcome("starting")
                self._log_reopening.begin("a reload")
            self._lifecycle.start()
        self._helpers.start()
        self._certificates.begin()
        self._lifecycle.reap()

    def _serve(self) -> None:
        """Take turns until the end, also after a turn that a plugin has broken off."""
        while not self._loop.stopping:
            try:
                self._loop.run()
            except Exception as error:
                self._repair.get_over(error)
                self._resume()

    def _resume(self) -> None:
        """Go on after a turn that was broken off: nobody knows what it had still to do."""
        self._loop.refresh()
        self._generations.handing_out.runner.recount()
        self._generations.deal_shards()
        self._lifecycle.resume()
        self._signals.handle()
        self._check_health()

    def _tell_plugins(self, mine: Generation) -> str:
        """Tell the plugins that the host starts; return why the generation cannot, or "".

        Raises:
            Interrupted: the host is told to stop before it has started.
            PluginError: a plugin has failed, and there is no generation before this one.
            LimitsError: there is no memory for what they count, nor a generation before.
        """
        given = self._dependencies
        timed = self._measuring.timed_for_workers(given.timed)
        hook = functools.partial(given.registry.hook, timed=timed)
        view = view_of(
            self._settings, mine.listeners, hook, given.telemetry, self._measuring.metrics
        )
        try:
            starters = Starters.of(given.registry)
            with self._signals.interrupting(), leaves_process_alone(starters, given.keeping()):
                fine = self._hooks.tell(on_host_start, view)
        except (Interrupted, PluginError) as stop:
            if given.handed is None:
                raise
            return str(stop)
        finally:
            forks.exit_if_plugin_fork()
        if fine:
            return self._begin_to_count()
        failure = self._failures.last
        assert failure is not None
        error = failed_start(failure)
        if given.handed is None:
            raise error
        return str(error)

    def _begin_to_count(self) -> str:
        """Have plugins count in shared memory; return why that cannot be, or "".

        Raises:
            LimitsError: it cannot, and there is no generation before this one.
        """
        try:
            self._measuring.begin()
        except OSError as error:
            cause = f"there is no memory for what plugins count: {reason(error)}"
            if self._dependencies.handed is None:
                raise LimitsError(cause) from error
            return cause
        return ""

    def _on_turn_end(self) -> None:
        """End a turn, in which plugins may have been called.

        What workers have said to each other in it is sent now, all at once. A plugin that has
        replaced the host's signal handlers would make the host deaf to SIGTERM; one that does so
        is found out in the same turn, at the price of one look at one handler.
        """
        self._router.pass_on()
        if self._signals.replaced:
            self._restore_signals()

    def _reopen_log(self, number: signal.Signals) -> None:
        self._log_reopening.begin(number.name)
        self._ops.reopen_log()

    def _restore_signals(self) -> None:
        for number in self._signals.restore():
            self._dependencies.telemetry.emit(events.SIGNAL_RECLAIMED, signal=number.name)

    def _check_health(self) -> None:
        """Look after the workers, the signals and the process itself, again and again."""
        self._repair.glance()
        if self._next_look is not None:
            self._next_look.cancel()
        next_look = self._lifecycle.check_health()
        self._reloader.check_health()
        self._helpers.check_health()
        self._restore_signals()
        self._next_look = self._loop.call_at(next_look, self._check_health)

    def _on_stop_signal(self, number: signal.Signals) -> None:
        now = self._loop.now
        if not self._shutdown.begun:
            self._asked_to_stop = now
            self.stop(number.name, delayed=number is signal.SIGTERM)
        elif number is signal.SIGINT and now >= self._asked_to_stop + _ONE_REQUEST_SECONDS:
            self.stop(f"a second {number.name}", quick=True)

    def stop(self, cause: str, *, quick: bool = False, delayed: bool = False) -> float:
        """Begin to stop; return in how many seconds the host has ended at the latest.

        Args:
            cause: why, for the log.
            quick: whether workers have but a second to end, also if a stop is under way.
            delayed: whether connections are taken for `shutdown_delay_seconds` first.
        """
        self._reloader.stop()
        if quick:
            self._shutdown.hurry(cause)
            self._lifecycle.end_all()
        else:
            self._shutdown.begin(cause, delayed=delayed)
        return self._shutdown.deadline - self._loop.now

    def _finish(self, code: ExitCode) -> None:
        """End: no worker is left."""
        self._code = code
        self._loop.stop()

    def _close_own(self) -> None:
        """Close what the supervisor alone uses; a child does so first of all."""
        self._count_no_more()
        close_each(
            self._signals.close,
            lineage.close,
            self._dependencies.log.leave,
            self._dependencies.passed.close,
            self._service.leave,
            self._loop.close,
            self._close_channels,
        )

    def _close_channels(self) -> None:
        close_each(self._router.close, self._workers.close)
        if self._control is not None:
            self._control.close()

    def _become_helper(self) -> None:
        """Close, in a helper process, what the supervisor alone uses; counters stay mapped."""
        self._dependencies.batch.end()
        self._close_own()
        self._generations.close_sockets_in_fork()

    def _become_worker(self) -> None:
        """Close, in a new worker, what is not its generation's."""
        self._dependencies.batch.end()
        self._helpers.close_in_child()
        self._close_own()
        self._generations.close_all_but_current()

    def _count_no_more(self) -> None:
        """Keep a child from counting its events as the supervisor's."""
        self._dependencies.telemetry.unsubscribe(self._counts.count_event)
        self._dependencies.telemetry.unsubscribe(self._note)

    def _close_in_fork(self) -> None:
        """Leave everything to the parent, in a child that a plugin has forked."""
        self._count_no_more()
        self._helpers.close_in_child()
        self._loop.close_in_fork()
        self._dependencies.passed.close()
        self._service.leave()
        self._close_channels()
        self._generations.close_sockets_in_fork()
