"""The supervisor: watches the listeners, hands out what waits, keeps the workers alive."""

from __future__ import annotations

import functools
import gc
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence

from host.bus.supervisor_end import BusRouter
from host.control.server import ControlServer
from host.dispatch.dispatcher import DispatchPolicy, Scheduler
from host.errors import ExitCode, PluginError
from host.ipc import protocol
from host.net.listeners import ListeningSocket
from host.plugin.circuit_breaker import CircuitBreaker
from host.plugin.failures import Failures
from host.runtime import forks
from host.runtime.loop import READ, Loop
from host.runtime.processes import BatchScheduling
from host.runtime.signals import Signals
from host.settings import Settings
from host.settings.models import MAX_WORKERS
from host.supervisor.command_handlers import CommandHandlers
from host.supervisor.dependencies import Dependencies, HostView
from host.supervisor.generations import Generation, Means
from host.supervisor.lifecycle import WorkerLifecycle
from host.supervisor.reload.rehearsal import Done, Plan, Reloader
from host.supervisor.reload.succession import Succession
from host.supervisor.shutdown import Shutdown
from host.supervisor.workers import states
from host.supervisor.workers.exits import ExitReports
from host.supervisor.workers.handles import WorkerHandle, Workers
from host.supervisor.workers.last_call import LastCall
from host.supervisor.workers.pool import Pool
from host.supervisor.workers.queries import WorkerQueries
from host.telemetry import events


def _policy(settings: Settings, generation: int) -> states.PoolPolicy:
    lifecycle = settings.lifecycle
    return states.PoolPolicy(
        workers=settings.workers,
        respawn=settings.respawn,
        start_timeout=lifecycle.start_timeout_seconds,
        drain_timeout=lifecycle.drain_timeout_seconds,
        pause_max=lifecycle.respawn_backoff_max_seconds,
        generation=generation,
    )


class Supervisor:
    """The parent process. It never reads a byte of a client's.

    Args:
        settings: the validated settings.
        sockets: the bound listeners of the generation to start; the supervisor closes them.
        wiring: what else it is made of.

    Attributes:
        serving: the generation that connections are handed to.
        coming: the generation that is starting and will take over, if there is one.
        ending: how the host stops, if it does.
    """

    def __init__(
        self, settings: Settings, sockets: Sequence[ListeningSocket], wiring: Dependencies
    ) -> None:
        self.settings, self.telemetry, self.log = settings, wiring.telemetry, wiring.log
        self._wiring, self.handed = wiring, wiring.handed
        self.failures = Failures(self.telemetry)
        self.breaker = CircuitBreaker(
            settings.breaker, wiring.registry.never_suspended, self.telemetry
        )
        self.hooks = wiring.registry.host_hooks(self.failures, breaker=self.breaker)
        self.loop = loop = Loop(settings.limits.max_events)
        self.log.attend(loop.call_later)
        self.exchange = BusRouter(loop, self.telemetry)
        self.crew = Workers(loop, self.exchange, heard=self._hear, run_worker=wiring.run_worker)
        self.questions = WorkerQueries(loop, self.crew.send)
        self.pid, self.version = os.getpid(), wiring.version
        self.coming: Generation | None = None
        self.ending: Shutdown | None = None
        self.started = time.monotonic()
        self.succession = Succession(self)
        number = self.handed.generation if self.handed else 0
        mine = Generation(number, [listener.view for listener in sockets], sockets)
        mine.began = self.handed.reloaded if self.handed else self.started
        older: list[states.WorkerRecord] = []
        if self.handed is None:
            self.serving = mine
        else:
            self.coming = mine
            self.serving, older = self.succession.take_on(self.handed, wiring.inherited)
            self.started = self.handed.started
        self.pool = Pool(_policy(settings, number), older)
        self.obituaries = ExitReports(
            loop, self.crew, self.telemetry, LastCall(wiring.registry.calls)
        )
        if self.handed is not None:
            self.obituaries.take_on(self.handed.restarts, self.handed.hangs)
        self.reloads = Reloader(
            loop,
            self.telemetry,
            patience=settings.lifecycle.start_timeout_seconds,
            go=self._re_execute,
            failed=self.succession.note_refusal,
        )
        self.foreman = WorkerLifecycle(self)
        self._code = ExitCode.OK
        # While it waits for a core, connections come together; workers are not made to wait.
        self._batch = BatchScheduling()
        self._admin = self._open_admin(wiring.admin)
        self.signals = self._watch_signals()
        forks.release_in_plugin_fork(self.log.mute)
        forks.release_in_plugin_fork(self._release)

    def _open_admin(self, sock: socket.socket | None) -> ControlServer | None:
        if sock is None:
            return None
        return ControlServer(self.loop, self.telemetry, sock, CommandHandlers(self).handle)

    def _re_execute(self, plan: Plan, succeed: Callable[[], None]) -> None:
        self._batch.end()  # the next one begins as this one has begun
        try:
            self.succession.re_execute(plan, succeed)
        finally:  # reached if it fails; the stand-in may have handed out connections meanwhile
            self._batch.begin()
            if self.serving.passes is not None:
                self.serving.passes.recount()

    def _hear(self, hand: WorkerHandle, report: protocol.Report) -> None:
        self.foreman.hear(hand, report)

    def finish(self, code: ExitCode) -> None:
        """End: no worker is left."""
        self._code = code
        self.loop.stop()

    @property
    def admin(self) -> tuple[str, int] | None:
        """The name and descriptor of the admin socket, if there is one."""
        return None if self._admin is None else (self.settings.name, self._admin.fileno())

    def _watch_signals(self) -> Signals:
        return Signals(
            {
                signal.SIGCHLD: lambda _: self.foreman.reap(),
                signal.SIGTERM: self._on_stop_signal,
                signal.SIGINT: self._on_stop_signal,
                signal.SIGQUIT: lambda number: self.stop_now(number.name),
                signal.SIGHUP: lambda number: self.reload(number.name),
                signal.SIGTTIN: lambda number: self.scale(self.pool.workers + 1, number.name),
                signal.SIGTTOU: lambda number: self.scale(self.pool.workers - 1, number.name),
                # The log goes to standard error: whoever reads it there rotates it.
                signal.SIGUSR1: lambda _: None,
            }
        )

    @property
    def current(self) -> Generation:
        """The newest generation: the one that workers are started for."""
        return self.coming or self.serving

    def run(self) -> ExitCode:
        """Start the workers, serve until told to stop, and return the exit code.

        Raises:
            PluginError: a plugin's `on_host_start` failed; nothing was started.
        """
        self._batch.begin()
        try:
            self._start()
            self.loop.run()
            return self._code
        finally:
            self._close()
            self._batch.end()

    # Starting and ending

    def prepare(self, generation: Generation, wake: int | None = None) -> None:
        """Have a generation ready to hand out what waits on its listeners."""
        missed_claim = self.settings.dispatch.missed_claim_ms / 1000
        means = Means(
            self.hooks.schedulers,
            DispatchPolicy(self._wiring.max_connections, missed_claim),
            self.crew.send,
            self.failures,
            self.telemetry,
        )
        generation.hand_out(self.loop, means, wake)

    def _start(self) -> None:
        mine = self.current
        if not self._wiring.failed:
            self.prepare(mine)
        failed = self._wiring.failed or self._tell_plugins(mine)
        loop = self.loop
        loop.add(self.signals.fileno(), READ, self.signals.handle)
        loop.on_turn_end = self._on_turn_end
        if self.handed is not None:
            self.succession.relieve(self.handed.standin)
        loop.refresh()
        assert self.serving.passes is not None
        self.serving.passes.start()
        # What was allocated so far stays as it is: no collector of any worker writes to it, so its
        # pages stay shared.
        gc.collect()
        gc.freeze()
        self.signals.unblock()
        self.foreman.look_after()
        self._drain_others(self.serving, mine)  # one that was to come before this one never will
        if failed:
            self.pool.on_hold = True
            self.succession.note_failure(failed)
        else:
            if self.handed is not None:
                self.telemetry.emit(
                    events.GENERATION_STARTING,
                    generation=mine.number,
                    workers=self.settings.workers,
                )
                self.succession.note_outcome("starting")
            self.foreman.carry_out(self.pool.start(loop.now))
        self.foreman.reap()

    def _on_turn_end(self) -> None:
        """End a turn, in which plugins may have been called."""
        self.exchange.flush()
        if self.signals.replaced:
            self.foreman.keep_signals()

    def _tell_plugins(self, mine: Generation) -> str:
        """Tell the plugins that the host starts; return why the generation cannot, or ""."""
        settings = self.settings
        view = HostView(
            settings.name,
            os.getpid(),
            settings.workers,
            mine.listeners,
            functools.partial(self._wiring.registry.hook, timed=self._wiring.timed),
        )
        fine = self.hooks.on_host_start(view)
        forks.exit_if_plugin_fork()
        if fine:
            return ""
        failure = self.failures.last
        assert failure is not None
        error = PluginError(
            failure.plugin,
            f"hook on_host_start raised {failure.error}\n{failure.traceback}",
            hook="on_host_start",
        )
        if self.handed is None:
            raise error
        return str(error)

    def _close(self) -> None:
        """Leave nothing behind: no child, no socket file, no descriptor."""
        self.crew.kill_all()
        self.close_own()
        for generation in self.succession.all_generations:
            generation.close()

    def close_own(self) -> None:
        """Close what the supervisor alone uses; a worker does so first of all."""
        self.signals.close()
        self.loop.close()
        self._close_channels()

    def _close_channels(self) -> None:
        self.exchange.close()
        self.crew.close()
        if self._admin is not None:
            self._admin.close()

    def _release(self) -> None:
        """Leave everything to the parent, in a child that a plugin has forked."""
        self.loop.release()
        self._close_channels()
        for generation in self.succession.all_generations:
            for listener in generation.sockets:
                listener.sock.close()

    def become_worker(self) -> None:
        """Close, in a new worker, what is not its generation's."""
        self._batch.end()
        self.close_own()
        mine = self.current
        for generation in self.succession.all_generations:
            if generation is not mine:
                generation.close(kept=mine.sockets)

    # Generations

    def generation_ready(self) -> None:
        """Go on after all workers of the newest generation have got ready."""
        if self.coming is None:
            self.telemetry.emit(events.HOST_READY, workers=self.pool.workers)
        elif self.ending is None:
            self.succession.come()

    def run_passes(self) -> None:
        """Look what waits on each listener, and hand it out."""
        if self.serving.passes is not None:
            self.serving.passes.run_all()

    def succeeded(self) -> None:
        """Have the generations before drain: the new one has taken over."""
        self._drain_others(self.serving)
        self.run_passes()
        self.begin_wanted_reload()

    def schedulers_of(self, plugin: str) -> Sequence[tuple[str, Scheduler]]:
        """Load a scheduler plugin; return whom to ask from then on.

        Raises:
            PluginError: it cannot be loaded, or is none.
        """
        registry = self._wiring.load_scheduler(plugin)
        return registry.host_hooks(self.failures, breaker=self.breaker).schedulers

    def reload(self, cause: str, done: Done | None = None) -> None:
        """Try the new settings and take them on, as soon as no other reload is under way."""
        if self.ending is not None:
            return
        if self.starting:
            self.reloads.wanted = True
            return
        self.reloads.begin(cause, done)

    @property
    def starting(self) -> bool:
        """Whether a generation is on its way to take over, as far as is known."""
        outcome = self.succession.outcome
        failed = outcome is not None and outcome.failed
        return (self.coming is not None or not self.pool.complete) and not failed

    def _drain_others(self, *but: Generation) -> None:
        """Have the workers of all generations drain but of these."""
        numbers = [generation.number for generation in but]
        self.foreman.carry_out(self.pool.release(self.loop.now, but=numbers))

    def begin_wanted_reload(self) -> None:
        """Begin a reload that was asked for while it could not be begun."""
        if self.reloads.wanted and not self.reloads.under_way and not self.starting:
            self.reload("a signal that came meanwhile")

    def scale(self, workers: int, cause: str) -> bool:
        """Have so many workers from now on; False if that is none or too many."""
        before = self.pool.workers
        limit = 1 <= workers <= MAX_WORKERS
        if not limit or self.ending is not None:
            return False
        self.telemetry.emit(events.WORKERS_SCALED, workers=workers, before=before, cause=cause)
        self.foreman.carry_out(self.pool.scale(workers, self.loop.now))
        self.run_passes()
        return True

    # Stopping

    def _on_stop_signal(self, number: signal.Signals) -> None:
        if self.ending is None:
            self.stop(number.name, delayed=number is signal.SIGTERM)
        elif number is signal.SIGINT:
            self.stop_now(f"a second {number.name}")

    def stop(self, cause: str, *, delayed: bool = False) -> float:
        """Stop without cutting anybody off; return in how many seconds at the latest.

        Args:
            cause: why, for the log.
            delayed: whether connections are taken for `shutdown_delay_seconds` first.
        """
        if self.ending is None:
            lifecycle = self.settings.lifecycle
            self.reloads.cancel()
            delay = lifecycle.shutdown_delay_seconds if delayed else 0.0
            self.ending = Shutdown(self, lifecycle.drain_timeout_seconds, delay)
            self.ending.begin(cause)
        return self.ending.deadline - self.loop.now

    def stop_now(self, cause: str) -> None:
        """Stop at once: workers have a second to end."""
        self.telemetry.emit(events.HOST_STOPPING_NOW, cause=cause)
        self.reloads.cancel()
        if self.ending is None:
            self.ending = Shutdown(self, 0.0, 0.0)
        self.ending.hurry()
        self.foreman.carry_out(self.pool.stop(self.loop.now, quick=True))

    def drain_all(self, deadline: float) -> None:
        """Have all workers drain: the listeners are closed."""
        self.foreman.carry_out(self.pool.stop(self.loop.now, deadline=deadline))
