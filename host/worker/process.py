"""The worker process: it is made of parts here, started, and ended."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from host.bus.frames import Channel
from host.bus.worker_end import LocalBus
from host.errors import ExitCode
from host.hookspecs import on_worker_start, on_worker_stop
from host.interfaces import Listener
from host.ipc.assignment import Assignment, WorkerId
from host.ipc.current_call import kind_of, pack_call
from host.ipc.heartbeat import beat_seconds
from host.ipc.protocol import REOPEN_LOG, TAKE_CERTIFICATES, Ask, Drain, Order, Report, ShardOrder
from host.ipc.scoreboard import BYTES_IN, BYTES_OUT, CURRENT_CALL, OPEN
from host.ipc.worker_end import WorkerChannel
from host.plugin.binding import ListenerHooks
from host.plugin.circuit_breaker import CircuitBreaker
from host.plugin.failures import Failures
from host.plugin.isolation import no_plugins
from host.plugin.registry import Registry
from host.profiling.recorder import ANYONE, CALLBACKS, Recorder
from host.runtime import forks, stacks, streams
from host.runtime.loop import Loop
from host.runtime.privileges import give_up_capabilities
from host.runtime.processes import die_with_parent, hide_memory, offer_to_oom_killer
from host.runtime.signal_table import IGNORED_BY_WORKERS
from host.runtime.signals import Handler, Signals
from host.settings import Settings
from host.telemetry.emitter import Telemetry
from host.telemetry.events import CONNECTIONS_CUT, PROFILE_LOST, TASKS_CUT
from host.telemetry.logs import LogWriter
from host.text import reason
from host.worker.acceptor import Acceptor
from host.worker.admission import AccessRules, Admission
from host.worker.answers import Answers
from host.worker.asyncio_loop import AsyncioLoop
from host.worker.capacity import Capacity
from host.worker.client_limits import ClientLimit, client_limit
from host.worker.closing import log_closed
from host.worker.context import ListenerContext, OpenConnections
from host.worker.datagram_setup import DatagramSetup
from host.worker.draining import Draining
from host.worker.losses import ListenerLosses
from host.worker.open_counts import counting_close
from host.worker.refusals import Refusals, closers
from host.worker.request_log import RequestLog
from host.worker.shards import OwnedShards
from host.worker.sweep import Sweep
from host.worker.timeouts import Timeouts
from host.worker.turns import TurnHandler
from host.worker.unsent import UnsentBytes
from host.worker.view import PluginWorker, isolation

if TYPE_CHECKING:  # a worker imports nothing of what its settings do not have
    from host.offload.pools import MakePools, Pools
    from host.worker.tls_setup import TlsSetup


def run(
    assignment: Assignment,
    settings: Settings,
    registry: Registry,
    telemetry: Telemetry,
    log: LogWriter,
    recorder: Recorder | None = None,
    make_pools: MakePools | None = None,
) -> int:
    """Be a worker, from just after the fork to the exit code; `recorder` measures it.

    `make_pools` makes its pools if the settings have any. The caller closes the log, to which it
    may have more to tell.
    """
    log.forget()
    if settings.process.keep:
        give_up_capabilities()
    if not die_with_parent(assignment.parent):
        return ExitCode.OK
    _offer_to_oom_killer(has_keys=assignment.tls is not None)
    stacks.print_to(assignment.stacks)
    worker = WorkerProcess(assignment, settings, registry, telemetry, log, recorder, make_pools)
    log.attend(worker.loop.call_later, worker.loop.call_from_thread)
    forks.close_in_plugin_fork(log.mute)
    forks.close_in_plugin_fork(worker.close_in_fork)
    try:
        return worker.run()
    finally:
        log.leave()
        worker.close()
        forks.exit_if_plugin_fork()


def _offer_to_oom_killer(*, has_keys: bool) -> None:
    """Do so also if files of this process in /proc are root's, since it has keys (proc(5))."""
    if has_keys:
        hide_memory(False)
    offer_to_oom_killer()
    if has_keys:
        hide_memory()


def signal_handlers(leave: Callable[[], object]) -> dict[signal.Signals, Handler]:
    """Return what a worker does for each signal that it handles or ignores.

    Args:
        leave: asks the supervisor to replace the worker.
    """
    nothing = dict.fromkeys(IGNORED_BY_WORKERS, lambda _: None)
    return {signal.SIGTERM: lambda _: leave(), **nothing}


class WorkerProcess:
    """A worker process.

    Args:
        assignment: what the supervisor gives it; see there what the worker closes.
        settings: the settings of the host.
        registry: the loaded plugins.
        telemetry: told of events.
        log: writes them; its file is opened anew here.
        recorder: measures hooks and turns; None to measure nothing.
        make_pools: makes its pools; None if the settings have none.

    Attributes:
        loop: its loop.
    """

    def __init__(
        self,
        assignment: Assignment,
        settings: Settings,
        registry: Registry,
        telemetry: Telemetry,
        log: LogWriter,
        recorder: Recorder | None = None,
        make_pools: MakePools | None = None,
    ) -> None:
        self._assignment, self._telemetry, self._recorder = assignment, telemetry, recorder
        self._log = log
        self._failures = failures = Failures(telemetry)
        self._beat = beat_seconds(settings.lifecycle.hang_seconds)
        self.loop = loop = Loop(settings.limits.max_events)
        has_keys = assignment.tls is not None
        self._channel = WorkerChannel(assignment.control, loop, descriptors=has_keys)
        breaker = CircuitBreaker(settings.breaker, registry.never_left_out, telemetry)
        breaker.on_change = functools.partial(self._report_plugins, breaker)
        timed = recorder.timed if recorder else None
        isolated = isolation(assignment.row, failures)
        if recorder:
            isolated = recorder.time(ANYONE, CALLBACKS, isolated)
        worker = WorkerId(assignment.slot, os.getpid(), assignment.generation)
        self._bus = LocalBus(Channel(assignment.bus), loop, worker.pid, isolated)
        unsent = UnsentBytes(settings.limits.max_unsent_bytes_per_worker)
        self._connections = connections = OpenConnections(unsent=unsent)
        self._answers = Answers(connections, loop, self._channel)
        self._asyncio = AsyncioLoop(loop, assignment.row, registry, failures)
        self._view = PluginWorker(worker, self._bus, loop, connections, isolated, self._asyncio.get)
        self._pools: Pools | None = None
        if make_pools is not None:
            row, slot = assignment.row, assignment.slot
            self._pools = make_pools(loop, isolated, telemetry, slot, row.raise_by)
        self._view.pools = self._pools
        self._view.log_request = RequestLog(telemetry) if settings.log.access else None
        self._hooks = registry.host_hooks(failures, breaker=breaker, timed=timed)
        wake = functools.partial(os.eventfd_write, assignment.wake, 1)
        capacity = Capacity(assignment.row, connections, loop, wake)
        self._client_limits = self._limits_of_clients(settings)
        bind = functools.partial(registry.bind, report=failures, breaker=breaker, timed=timed)
        self._contexts: list[ListenerContext] = []
        contexts = self._contexts
        datagrams = DatagramSetup(self._view, assignment, loop, failures, telemetry)
        for listener in assignment.listeners:
            hooks = bind(listener.plugin)
            contexts.append(self._context(listener, hooks, settings, capacity))
            datagrams.add(listener, hooks, settings)
        self._tls = self._tls_of(
            settings,
            lambda view: self._context(view, bind(view.plugin), settings, capacity),
        )
        self._shards = OwnedShards(datagrams.shards, loop, self._channel.report)
        sockets, spread = assignment.sockets, settings.lifecycle.drain_spread_seconds
        streams = [each for number, each in enumerate(sockets) if number not in assignment.shards]
        self._draining = Draining(connections, streams, loop, spread, self._report_cut)
        self._sweep = Sweep(loop, connections)
        acceptor = Acceptor(sockets, contexts, assignment.row, loop, telemetry, capacity)
        for number, listen in enumerate(settings.listens):
            if listen.max_connections:
                acceptor.count_open(number, assignment.row.cell(number, OPEN))
        self._admission = self._admission_of(acceptor, settings, capacity)
        self._turns = self._turn_handler(acceptor, settings, wake)
        self._handlers = signal_handlers(lambda: self._channel.report(Report("leaving")))
        self._signals = Signals(self._handlers)

    def _context(
        self, listener: Listener, hooks: ListenerHooks, settings: Settings, capacity: Capacity
    ) -> ListenerContext:
        row, telemetry, access = self._assignment.row, self._telemetry, settings.log.access
        return ListenerContext(
            listener,
            worker=self._view,
            loop=self.loop,
            on_accept=None if hooks.on_accept is no_plugins else hooks.on_accept,
            on_readable=hooks.on_readable,
            on_close=None if hooks.on_close is no_plugins else hooks.on_close,
            on_drain=hooks.on_drain,
            blame=hooks.blame,
            report=self._failures,
            on_end=capacity.connection_ended,
            close=self._closing(listener, settings),
            limits=settings.connection,
            losses=ListenerLosses(listener, row, self.loop.time, telemetry, self._assignment.slot),
            log_closed=functools.partial(log_closed, telemetry, self.loop) if access else None,
            connections=self._connections,
            cells=row.cells,
            call_cell=row.index(CURRENT_CALL),
            bytes_in_cell=row.cell(listener.index, BYTES_IN),
            bytes_out_cell=row.cell(listener.index, BYTES_OUT),
        )

    def _closing(self, listener: Listener, settings: Settings) -> Callable[[int], None]:
        """Return what closes the descriptors of a listener, and takes them off its counts."""
        row, clients = self._assignment.row, self._client_limits[listener.index]
        close: Callable[[int], None] = os.close
        if settings.listens[listener.index].max_connections:
            close = counting_close(close, row.cells, row.cell(listener.index, OPEN))
        return close if clients is None else clients.closing(close)

    def _limits_of_clients(self, settings: Settings) -> list[ClientLimit | None]:
        """Return what one client may do at each listener; None if it may do anything."""
        row = self._assignment.clients
        if row is None:
            return [None] * len(settings.listens)
        return [client_limit(settings.limits, listen, row) for listen in settings.listens]

    def _tls_of(
        self, settings: Settings, make: Callable[[Listener], ListenerContext]
    ) -> TlsSetup | None:
        """Have listeners use TLS whose settings say so; `make` makes the context of a listener."""
        if self._assignment.tls is None:
            return None
        from host.worker.tls_setup import TlsSetup  # noqa: PLC0415  (by then it is imported)

        setup = TlsSetup(self._assignment.tls, settings, self.loop)
        setup.take_over(self._contexts, make)
        return setup

    def _admission_of(
        self, acceptor: Acceptor, settings: Settings, capacity: Capacity
    ) -> Admission | None:
        """Have connections asked first where the settings want it; None if they never do."""
        assignment, loop = self._assignment, self.loop
        rules = list(map(AccessRules, settings.listens, self._client_limits))
        if all(each.is_open for each in rules) and self._tls is None:
            return None
        refusals = Refusals(
            assignment.listeners,
            [
                closers(each.close, listen.refuse)
                for each, listen in zip(self._contexts, settings.listens, strict=False)
            ],
            assignment.row,
            assignment.slot,
            loop,
            self._telemetry,
            capacity,
        )
        pending = self._connections.pending
        admission = Admission(
            rules, acceptor.begin, loop, refusals, capacity, pending, settings.limits
        )
        admission.tls = self._tls
        for number, each in enumerate(rules):
            has_tls = self._tls is not None and number in self._tls
            if has_tls or not each.is_open:
                waits = has_tls or each.versions is not None
                is_full = admission.is_full if waits else None
                acceptor.ask_first(number, admission.begin, is_full)
        return admission

    def _turn_handler(
        self, acceptor: Acceptor, settings: Settings, wake: Callable[[], object]
    ) -> TurnHandler:
        timeouts = Timeouts(
            self.loop,
            self._connections,
            idle_timeout=settings.limits.idle_timeout_seconds,
            write_timeout=settings.connection.write_timeout_seconds,
        )
        return TurnHandler(
            connections=self._connections,
            loop=self.loop,
            row=self._assignment.row,
            acceptor=acceptor,
            timeouts=timeouts,
            bus=self._bus,
            wake=wake,
            execute=self._execute,
        )

    def run(self) -> int:
        """Start, serve until told to go, stop; return the exit code."""
        row = self._assignment.row
        row.put(CURRENT_CALL, pack_call(kind_of(on_worker_start)))
        fine = self._hooks.tell(on_worker_start, self._view)
        forks.exit_if_plugin_fork()
        streams.fill()
        if not fine:
            failure = self._failures.last
            assert failure is not None
            cause = f"hook {failure.hook} of plugin {failure.plugin} raised {failure.error}"
            self._channel.report(Report("failed", cause, failure.traceback))
            return ExitCode.WORKER_START
        row.put(CURRENT_CALL, 0)
        if not die_with_parent(self._assignment.parent):  # undone by a plugin that changes the user
            return ExitCode.OK
        loop = self.loop
        self._signals.begin(self._handlers, loop)
        self._channel.watch(self._turns.add_orders)
        loop.on_turn_begin, loop.on_turn_end = self._turns.begin, self._turns.end
        self._bus.flush()  # what the plugins have put there: the loop may have to wait first
        self._keep_turning()
        self._sweep.wait()
        if self._recorder is not None:
            self._recorder.attend(loop, row, f"worker-{self._view.slot}-{self._view.pid}")
        self._channel.report(Report("ready"))
        self._asyncio.run()
        self._asyncio.finish(self._bus.flush)
        row.put(CURRENT_CALL, pack_call(kind_of(on_worker_stop)))
        self._hooks.tell(on_worker_stop, self._view)
        self._asyncio.close()
        self._bus.flush()
        if self._recorder is not None:
            self._save(self._recorder)
        return ExitCode.CUT_SHORT if self._draining.has_cut else ExitCode.OK

    def close_in_fork(self) -> None:
        """Leave everything to the parent, in a child that a plugin has forked."""
        self.loop.close_in_fork()
        for context in self._contexts:
            context.close = os.close  # nothing is told to peers, nor counted: that is the parent's
        for connection in self._connections.open:
            connection.close_in_fork()
        for each in self._connections.pending:
            each.sock.close()
        for sock in self._assignment.sockets:
            sock.close()
        if self._pools is not None:
            self._pools.close_in_fork()
        self._shards.close()
        self._channel.close()
        self._bus.close()

    def close(self) -> None:
        """Close what the worker opened."""
        if self._pools is not None:
            self._pools.close()
        self._signals.close()
        self._bus.close()
        self.loop.close()
        self._channel.close()

    def _keep_turning(self) -> None:
        """Have the loop turn now and then though nothing happens: so the supervisor sees it can.

        Also after a plugin has changed the user late, the worker dies with its parent.
        """
        if not die_with_parent(self._assignment.parent):
            self.loop.stop()
        self.loop.call_at(self.loop.now + self._beat, self._keep_turning)

    def _execute(self, order: Order) -> None:
        match order:
            case ShardOrder():
                self._shards.obey(order)
            case Drain():
                self._shards.finish()
                self._draining.begin(order.deadline)
                if self._admission is not None:
                    self._admission.begin_to_drain(order.deadline)
                if self._pools is not None:
                    self._turns.has_tasks = self._pools.is_busy
                    self.loop.call_at(order.deadline, self._cut_tasks)
                self._turns.stop_when_empty = True
            case Ask() if order.question == REOPEN_LOG:
                self._reopen_log(order)
            case Ask() if order.question == TAKE_CERTIFICATES:
                self._take_certificates(order)
            case Ask():
                self._answers.begin(order)

    def _reopen_log(self, order: Ask) -> None:
        error = ""
        try:
            self._log.reopen()
        except OSError as failure:
            error = reason(failure)
        data = {"number": order.number, "items": [{"error": error}]}
        self._channel.report(Report("answer", data=data))

    def _take_certificates(self, order: Ask) -> None:
        tls, descriptors = self._assignment.tls, self._channel.descriptors
        error = "they did not arrive" if not descriptors else ""  # no descriptor was free
        if descriptors:
            descriptor = descriptors.popleft()
            try:
                if tls is not None:
                    tls.install_sealed(order.args["name"], descriptor)
            except Exception as failure:  # those before it serve on
                error = reason(failure)
            finally:
                os.close(descriptor)
        data = {"number": order.number, "items": [{"error": error}]}
        self._channel.report(Report("answer", data=data))

    def _report_plugins(self, breaker: CircuitBreaker) -> None:
        """Report which plugins are left out, once the call under way is over."""
        report = Report("plugins", data={"plugins": breaker.state()})
        self.loop.call_at(self.loop.now, lambda: self._channel.report(report))

    def _report_cut(self, count: int) -> None:
        self._telemetry.emit(CONNECTIONS_CUT, slot=self._view.slot, count=count)

    def _cut_tasks(self) -> None:
        """Wait for no more tasks at the drain deadline: their connections are closed by now."""
        assert self._pools is not None
        if count := self._pools.give_up():
            self._telemetry.emit(TASKS_CUT, slot=self._view.slot, count=count)

    def _save(self, recorder: Recorder) -> None:
        view = self._view
        forks.exit_if_plugin_fork()
        try:
            recorder.save(view.slot, view.generation)
        except OSError as error:
            self._telemetry.emit(PROFILE_LOST, slot=view.slot, pid=view.pid, cause=reason(error))
