"""The worker: accepts what it is told to accept, and serves it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from host.acceptor import Acceptor
from host.assignment import Assignment
from host.bus import EmbeddedBus
from host.connection import Service, SocketConnection
from host.control import Drain, Orders, Report
from host.errors import ExitCode
from host.events import CONNECTION_CLOSED, CONNECTIONS_CUT
from host.failures import Failures
from host.frames import Channel
from host.logs import LogWriter
from host.loop import READ, Loop, TimerHandle
from host.processes import die_with_parent
from host.registry import Registry
from host.scoreboard import ACTIVE, TURN_LASTED, TURN_STARTED, Row
from host.signals import Signals
from host.sweeper import Sweeper
from host.telemetry import Telemetry
from host.views import CloseReason, Listener
from settings import Settings

_LATER_SECONDS = 0.05


def run(
    assignment: Assignment,
    settings: Settings,
    registry: Registry,
    telemetry: Telemetry,
    log: LogWriter,
) -> int:
    """Be a worker, from just after the fork to the exit code."""
    log.forget()
    if not die_with_parent(assignment.parent):
        return ExitCode.OK
    worker = WorkerProcess(assignment, settings, registry, telemetry)
    log.attend(worker.later)
    try:
        return worker.run()
    finally:
        worker.close()
        log.close()


class WorkerProcess:
    """A worker process; plugins see it as `host.Worker`."""

    def __init__(
        self,
        assignment: Assignment,
        settings: Settings,
        registry: Registry,
        telemetry: Telemetry,
    ) -> None:
        self.slot, self.generation = assignment.slot, assignment.generation
        self.pid = os.getpid()
        self._assignment, self._telemetry = assignment, telemetry
        self._failures = Failures(telemetry)
        self._hooks = registry.host_hooks(self._failures)
        self._row: Row = assignment.scoreboard.rows[assignment.slot]
        self._open: set[SocketConnection] = set()
        self._touched: list[SocketConnection] = []
        self._stalled: dict[SocketConnection, float] = {}
        self._orders = Orders()
        self._notices: list[tuple[int, int] | Drain] = []
        self._draining = False
        self._code = ExitCode.OK
        self._loop = loop = Loop(settings.limits.max_events)
        self.bus = EmbeddedBus(Channel(assignment.bus), loop, self.pid, self._isolated)
        self._signals = Signals(
            {
                signal.SIGTERM: lambda _: self._say(Report("leaving")),
                # From a terminal these reach the whole process group; the supervisor decides.
                signal.SIGINT: lambda _: None,
                signal.SIGQUIT: lambda _: None,
                signal.SIGHUP: lambda _: None,
            }
        )
        self._acceptor = Acceptor(
            assignment.sockets,
            [self._service(listener, settings, registry) for listener in assignment.listeners],
            self._row,
            loop,
            telemetry,
            wake=self._wake,
            gate_shut=lambda: assignment.scoreboard.gate_shut,
        )
        self._sweeper = Sweeper(
            loop,
            self._open,
            self._stalled,
            idle_timeout=settings.limits.idle_timeout_seconds,
            write_timeout=settings.connection.write_timeout_seconds,
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
        due = time.monotonic() + seconds
        return self._loop.call_at(due, lambda: self._isolated(function))

    def call_from_thread(self, function: Callable[[], object]) -> None:
        """Call `function` on the loop soon; safe in any thread."""
        self._loop.call_from_thread(lambda: self._isolated(function))

    def _isolated(self, function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            module = getattr(function, "__module__", None) or "?"
            name = getattr(function, "__qualname__", repr(function))
            self._failures(module, f"call of {name}", error, ())

    # The worker's life

    def run(self) -> int:
        """Start, serve until told to go, stop; return the exit code."""
        if not self._hooks.on_worker_start(self):
            failure = self._failures.last
            assert failure is not None
            cause = f"hook {failure.hook} of plugin {failure.plugin} raised {failure.error}"
            self._say(Report("failed", cause, failure.traceback))
            return ExitCode.WORKER_START
        loop, control = self._loop, self._assignment.control
        control.setblocking(False)
        loop.add(self._signals.fileno(), READ, self._signals.handle)
        loop.add(control.fileno(), READ, self._on_control)
        loop.on_wake, loop.on_rest = self._on_wake, self._on_rest
        self.bus.flush()  # what the plugins have put there: the loop may have to wait first
        self._say(Report("ready"))
        loop.run()
        self._hooks.on_worker_stop(self)
        self.bus.flush()
        return self._code

    def later(self, function: Callable[[], object]) -> None:
        """Call one of the host's own functions in a short while."""
        self._loop.call_at(time.monotonic() + _LATER_SECONDS, function)

    def close(self) -> None:
        """Close what the worker opened."""
        self._signals.close()
        self.bus.close()
        self._loop.close()
        self._assignment.control.close()

    def _service(self, listener: Listener, settings: Settings, registry: Registry) -> Service:
        hooks, limits = registry.bind(listener.plugin, self._failures), settings.connection
        return Service(
            listener,
            worker=self,
            loop=self._loop,
            on_accept=hooks.on_accept,
            on_readable=hooks.on_readable,
            on_close=hooks.on_close,
            on_drain=hooks.on_drain,
            blame=hooks.blame,
            report=self._failures,
            on_end=self._on_end,
            connections=self._open,
            touched=self._touched,
            stalled=self._stalled,
            read_size=limits.read_size_bytes,
            high_water=limits.high_water_bytes,
            low_water=limits.low_water_bytes,
            max_unsent=limits.max_unsent_bytes,
        )

    def _on_wake(self) -> None:
        self._row.put(TURN_STARTED, int(self._loop.now * 1e9))

    def _on_rest(self) -> None:
        """End a turn: accept, settle what was touched, and say that the turn is over.

        Accepting comes last because a new socket may get the number of one that was closed in
        this turn, and events of the old one may still be in the batch.
        """
        if self._notices:
            notices, self._notices = self._notices, []
            for notice in notices:
                self._carry_out(notice)
            if self._assignment.scoreboard.starved:
                self._wake()
        touched = self._touched
        for connection in touched:  # grows while it is gone through, when hooks write to others
            connection.settle()
        touched.clear()
        if self._draining and not self._open:
            self._loop.stop()
        self.bus.flush()
        self._sweeper.arm()
        row = self._row
        row.put(TURN_LASTED, int(time.monotonic() * 1e9) - row.get(TURN_STARTED))
        row.put(TURN_STARTED, 0)

    def _on_control(self, _mask: int) -> None:
        try:
            data = self._assignment.control.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._notices += self._orders.feed(data)
        else:  # the supervisor is gone, and nobody would hand out what comes in
            self._loop.remove(self._assignment.control.fileno())
            self._notices.append(Drain(self._loop.now))

    def _carry_out(self, notice: tuple[int, int] | Drain) -> None:
        if isinstance(notice, Drain):
            self._drain(notice.deadline)
        else:
            self._acceptor.accept(*notice)

    def _drain(self, deadline: float) -> None:
        """Take nothing new, tell every connection, and end when the last one has."""
        loop = self._loop
        if not self._draining:
            self._draining = True
            for sock in self._assignment.sockets:
                sock.close()
            for connection in self.connections:
                connection.drain(deadline)
        loop.call_at(deadline, self._cut)

    def _cut(self) -> None:
        """Close what is still open at the deadline."""
        for connection in (left := self.connections):
            connection.abort(CloseReason.DEADLINE)
        if left:
            self._code = ExitCode.CUT_SHORT
            self._telemetry.emit(CONNECTIONS_CUT, slot=self.slot, count=len(left))

    def _on_end(self, connection: SocketConnection, reason: CloseReason) -> None:
        self._open.discard(connection)
        row = self._row
        row.put(ACTIVE, row.get(ACTIVE) - 1)
        if self._assignment.scoreboard.starved:
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

    def _say(self, report: Report) -> None:
        with suppress(OSError):  # the supervisor is gone: this process ends as well
            self._assignment.control.send(report.line())
