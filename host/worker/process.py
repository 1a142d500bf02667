"""The worker: accepts what it is told to accept, and serves it."""

from __future__ import annotations

import functools
import os
import random
import signal
import time
from collections.abc import Callable, Sequence

from host.bus.frames import Channel
from host.bus.worker_end import LocalBus
from host.errors import ExitCode
from host.interfaces import CloseReason, Listener
from host.ipc.assignment import Assignment
from host.ipc.current_call import CallKind, pack_call
from host.ipc.heartbeat import beat_seconds
from host.ipc.protocol import Ask, Drain, Instruction, Report
from host.ipc.scoreboard import ACTIVE, CURRENT_CALL, STARVED, TURN_LASTED, TURN_STARTED
from host.ipc.worker_end import WorkerChannel
from host.plugin.circuit_breaker import CircuitBreaker
from host.plugin.failures import Failures
from host.plugin.isolation import no_listeners
from host.plugin.registry import Registry
from host.profiling.recorder import ANYONE, CALLBACKS, Profile
from host.runtime import forks, stacks
from host.runtime.loop import READ, Loop, TimerHandle
from host.runtime.processes import die_with_parent
from host.runtime.signal_table import SIGNALS
from host.runtime.signals import Signals
from host.settings import Settings
from host.telemetry.emitter import Telemetry
from host.telemetry.events import CONNECTION_CLOSED, CONNECTIONS_CUT, PROFILE_LOST
from host.telemetry.logs import LogWriter
from host.worker import answers
from host.worker.acceptor import Acceptor
from host.worker.connection import SocketConnection
from host.worker.context import ListenerContext, Turn
from host.worker.timeouts import Timeouts

_SPREAD_SHARE = 0.5
"""The part of the time until the drain deadline that goodbyes may take."""


def run(
    assignment: Assignment,
    settings: Settings,
    registry: Registry,
    telemetry: Telemetry,
    log: LogWriter,
    profile: Profile | None = None,
) -> int:
    """Be a worker, from just after the fork to the exit code; `profile` measures it."""
    log.forget()
    if not die_with_parent(assignment.parent):
        return ExitCode.OK
    stacks.print_to(assignment.stacks)
    worker = WorkerProcess(assignment, settings, registry, telemetry, profile)
    log.attend(worker._loop.call_later)
    forks.release_in_plugin_fork(log.mute)
    forks.release_in_plugin_fork(worker.release)
    try:
        return worker.run()
    finally:
        worker.close()
        log.close()
        forks.exit_if_plugin_fork()


class WorkerProcess:
    """A worker process; plugins see it as `host.Worker`."""

    def __init__(
        self,
        assignment: Assignment,
        settings: Settings,
        registry: Registry,
        telemetry: Telemetry,
        profile: Profile | None = None,
    ) -> None:
        self.slot, self.generation = assignment.slot, assignment.generation
        self.pid = os.getpid()
        self._assignment, self._telemetry = assignment, telemetry
        self._failures = Failures(telemetry)
        self._breaker = CircuitBreaker(settings.breaker, registry.never_suspended, telemetry)
        self._breaker.on_change = self._tell_plugins
        self._profile = profile
        self._timed = profile.timed if profile else None
        called = self._call_isolated
        self._isolated = profile.time(ANYONE, CALLBACKS, called) if profile else called
        self._hooks = registry.host_hooks(self._failures, breaker=self._breaker, timed=self._timed)
        self._row = row = assignment.row
        self._cells, self._active, self._call_cell = (
            row.cells,
            row.index(ACTIVE),
            row.index(CURRENT_CALL),
        )
        self._turn_started, self._turn_lasted = row.index(TURN_STARTED), row.index(TURN_LASTED)
        self._turn = turn = Turn()
        self._open, self._touched, self._stalled = turn.open, turn.touched, turn.stalled
        self._notices: list[Instruction] = []
        self._draining = False
        self._idle_timeout = settings.limits.idle_timeout_seconds
        self._untold: set[SocketConnection] = set()  # who does not know that the worker goes away
        self._drain_spread = settings.lifecycle.drain_spread_seconds
        self._beat = beat_seconds(settings.lifecycle.hang_seconds)
        self._code = ExitCode.OK
        self._loop = loop = Loop(settings.limits.max_events)
        self._uplink = WorkerChannel(assignment.control, loop)
        self.bus = LocalBus(Channel(assignment.bus), loop, self.pid, self._isolated)
        self._signals = self._watch_signals()
        self._acceptor = Acceptor(
            assignment.sockets,
            [self._context(listener, settings, registry) for listener in assignment.listeners],
            self._row,
            loop,
            telemetry,
            wake=self._wake,
        )
        self._timeouts = Timeouts(
            loop,
            self._turn,
            idle_timeout=self._idle_timeout,
            write_timeout=settings.connection.write_timeout_seconds,
        )

    def _watch_signals(self) -> Signals:
        ignored = [number for number, each in SIGNALS.items() if each.ignored_by_workers]
        return Signals(
            {
                signal.SIGTERM: lambda _: self._uplink.say(Report("leaving")),
                **dict.fromkeys(ignored, lambda _: None),
            }
        )

    def __repr__(self) -> str:
        return f"<worker {self.slot} (pid {self.pid})>"

    # What plugins see

    @property
    def connections(self) -> Sequence[SocketConnection]:
        """The connections open in this worker, as a snapshot."""
        return tuple(self._open)

    def call_later(self, seconds: float, function: Callable[[], object]) -> TimerHandle:
        """Call `function` on the loop, once, after `seconds`."""
        return self._loop.call_later(seconds, lambda: self._isolated(function))

    def call_from_thread(self, function: Callable[[], object]) -> None:
        """Call `function` on the loop soon; safe in any thread."""
        self._loop.call_from_thread(lambda: self._isolated(function))

    def _call_isolated(self, function: Callable[[], object]) -> None:
        self._row.put(CURRENT_CALL, pack_call(CallKind.CALLBACK))
        try:
            function()
        except BaseException as error:
            module = getattr(function, "__module__", None) or "?"
            name = getattr(function, "__qualname__", repr(function))
            self._failures(module, f"call of {name}", error, ())

    # The worker's life

    def run(self) -> int:
        """Start, serve until told to go, stop; return the exit code."""
        self._row.put(CURRENT_CALL, pack_call(CallKind.ON_WORKER_START))
        fine = self._hooks.on_worker_start(self)
        forks.exit_if_plugin_fork()
        if not fine:
            failure = self._failures.last
            assert failure is not None
            cause = f"hook {failure.hook} of plugin {failure.plugin} raised {failure.error}"
            self._uplink.say(Report("failed", cause, failure.traceback))
            return ExitCode.WORKER_START
        self._row.put(CURRENT_CALL, 0)
        loop = self._loop
        loop.add(self._signals.fileno(), READ, self._signals.handle)
        self._uplink.attend(self._on_orders)
        loop.on_turn_begin, loop.on_turn_end = self._on_wake, self._on_turn_end
        self.bus.flush()  # what the plugins have put there: the loop may have to wait first
        self._keep_turning()
        if self._profile is not None:
            self._profile.attend(loop, self._row, f"worker-{self.slot}-{self.pid}")
        self._uplink.say(Report("ready"))
        loop.run()
        self._row.put(CURRENT_CALL, pack_call(CallKind.ON_WORKER_STOP))
        self._hooks.on_worker_stop(self)
        self.bus.flush()
        if self._profile is not None:
            self._save(self._profile)
        return self._code

    def _save(self, profile: Profile) -> None:
        forks.exit_if_plugin_fork()
        try:
            profile.save(self.slot, self.generation)
        except OSError as error:
            cause = error.strerror or str(error)
            self._telemetry.emit(PROFILE_LOST, slot=self.slot, pid=self.pid, cause=cause)

    def _tell_plugins(self) -> None:
        """Report which plugins are left out, once the call under way is over."""
        data = {"plugins": self._breaker.state()}
        self._loop.call_at(self._loop.now, lambda: self._uplink.say(Report("plugins", data=data)))

    def _keep_turning(self) -> None:
        """Have the loop turn now and then though nothing happens: so the supervisor sees it can."""
        if self._beat:
            self._loop.call_at(self._loop.now + self._beat, self._keep_turning)

    def release(self) -> None:
        """Leave everything to the parent, in a child that a plugin has forked."""
        self._loop.release()
        for connection in self._open:
            connection.release()
        for sock in self._assignment.sockets:
            sock.close()
        self._uplink.close()
        self.bus.close()

    def close(self) -> None:
        """Close what the worker opened."""
        self._signals.close()
        self.bus.close()
        self._loop.close()
        self._uplink.close()

    def _context(
        self, listener: Listener, settings: Settings, registry: Registry
    ) -> ListenerContext:
        hooks = registry.bind(
            listener.plugin, self._failures, breaker=self._breaker, timed=self._timed
        )
        return ListenerContext(
            listener,
            worker=self,
            loop=self._loop,
            on_accept=None if hooks.on_accept is no_listeners else hooks.on_accept,
            on_readable=hooks.on_readable,
            on_close=None if hooks.on_close is no_listeners else hooks.on_close,
            on_drain=hooks.on_drain,
            blame=hooks.blame,
            report=self._failures,
            on_end=self._on_end,
            limits=settings.connection,
            turn=self._turn,
            cells=self._cells,
            call_cell=self._call_cell,
        )

    def _on_wake(self) -> None:
        self._cells[self._turn_started] = int(self._loop.now * 1e9)

    def _on_turn_end(self) -> None:
        """End a turn: accept, settle what was touched, and say that the turn is over.

        Accepting comes last because a new socket may get the number of one that was closed in
        this turn, and events of the old one may still be in the batch.
        """
        if self._notices:
            notices, self._notices = self._notices, []
            for notice in notices:
                if isinstance(notice, tuple):
                    self._acceptor.accept(*notice)
                else:
                    self._carry_out(notice)
            if self._cells[STARVED]:
                self._wake()
        touched = self._touched
        if touched:
            for connection in touched:  # grows meanwhile, when hooks write to others
                connection.settle()
            touched.clear()
        if self._draining and not self._open:
            self._loop.stop()
        if self.bus.waiting:
            self.bus.flush()
        if self._stalled or self._idle_timeout:
            self._timeouts.arm()
        cells, started = self._cells, self._turn_started
        cells[self._call_cell] = 0
        cells[self._turn_lasted] = int(time.monotonic() * 1e9) - cells[started]
        cells[started] = 0

    def _on_orders(self, notices: list[Instruction] | None) -> None:
        if notices is None:  # the supervisor is gone, and nobody would hand out what comes in
            notices = [Drain(self._loop.now)]
        self._notices += notices

    def _carry_out(self, notice: Drain | Ask) -> None:
        match notice:
            case Drain():
                self._drain(notice.deadline)
            case Ask():
                for report in answers.answer(notice, self.connections, self._loop.now):
                    self._uplink.say(report)

    def _drain(self, deadline: float) -> None:
        """Take nothing new, tell every connection, and end when the last one has.

        A second order may come that leaves less time: who has heard nothing yet hears it then.
        """
        loop = self._loop
        if not self._draining:
            self._draining = True
            for sock in self._assignment.sockets:
                sock.close()
            self._untold = set(self._open)
        spread = min(self._drain_spread, (deadline - loop.now) * _SPREAD_SHARE)
        for connection in tuple(self._untold):
            if spread > 0:
                when = loop.now + random.random() * spread
                loop.call_at(when, functools.partial(self._take_leave, connection, deadline))
            else:
                self._take_leave(connection, deadline)
        loop.call_at(deadline, self._cut)

    def _take_leave(self, connection: SocketConnection, deadline: float) -> None:
        if connection in self._untold:
            self._untold.discard(connection)
            connection.drain(deadline)

    def _cut(self) -> None:
        """Close what is still open at the deadline."""
        for connection in (left := self.connections):
            connection.abort(CloseReason.DEADLINE)
        if left:
            self._code = ExitCode.CUT_SHORT
            self._telemetry.emit(CONNECTIONS_CUT, slot=self.slot, count=len(left))

    def _on_end(self, connection: SocketConnection, reason: CloseReason) -> None:
        self._open.discard(connection)
        self._cells[self._active] -= 1
        if self._cells[STARVED]:
            self._acceptor.take_again()  # the descriptor that it has had is free
            self._wake()
        if self._telemetry.debug:
            self._telemetry.emit(
                CONNECTION_CLOSED,
                connection=connection.id,
                peer=connection.peer,
                reason=reason.value,
            )

    def _wake(self) -> None:
        os.eventfd_write(self._assignment.wake, 1)
