"""The worker process: it is made of parts here, started, and ended."""

from __future__ import annotations

import functools
import math
import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from host.bus.frames import Channel
from host.bus.worker_end import Isolated, LocalBus
from host.errors import ExitCode
from host.hookspecs import on_worker_start, on_worker_stop
from host.ipc.assignment import Assignment, WorkerId
from host.ipc.current_call import kind_of, pack_call
from host.ipc.heartbeat import beat_seconds
from host.ipc.protocol import REOPEN_LOG, TAKE_CERTIFICATES, Ask, Drain, Order, Report, ShardOrder
from host.ipc.recent import Kind, RecentWriter
from host.ipc.scoreboard import BUS_REFUSED, CURRENT_CALL, LINES_DROPPED
from host.ipc.worker_end import WorkerChannel
from host.plugin.binding import ListenerHooks
from host.plugin.circuit_breaker import CircuitBreaker
from host.plugin.failures import Failures
from host.plugin.registry import Registry
from host.profiling.recorder import ANYONE, CALLBACKS, Recorder
from host.runtime import forks, stacks, streams
from host.runtime.descriptors import close_each, identities
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
from host.worker.answers import Answers
from host.worker.asyncio_loop import AsyncioLoop
from host.worker.capacity import Capacity
from host.worker.connection_setup import ConnectionSetup
from host.worker.context import OpenConnections, served_now
from host.worker.draining import Draining
from host.worker.measuring import Measuring
from host.worker.noting import slow_calls
from host.worker.request_log import RequestLog
from host.worker.shards import OwnedShards, Shard
from host.worker.sweep import Sweep
from host.worker.timeouts import Timeouts
from host.worker.turns import TurnHandler
from host.worker.unsent import UnsentBytes
from host.worker.view import PluginWorker, isolation

if TYPE_CHECKING:  # a worker imports nothing of what its settings do not have
    from host.offload.pools import MakePools, Pools
    from host.worker.datagrams import DatagramContext


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
    log.count_dropped(functools.partial(assignment.row.raise_by, LINES_DROPPED))
    forks.close_in_plugin_fork(log.mute)
    forks.close_in_plugin_fork(telemetry.silence)
    forks.close_in_plugin_fork(worker.close_in_fork)
    own = identities(worker.descriptors)
    try:
        return worker.run()
    except OSError:
        if identities(own) == own:
            raise
        return ExitCode.PLUGIN  # which the supervisor tells: perhaps the log is closed as well
    finally:
        log.leave()
        worker.close()
        forks.exit_if_plugin_fork()


def _bus(assignment: Assignment, loop: Loop, isolated: Isolated) -> LocalBus:
    """Return this worker's end of the bus; with a broker, what it owns is its own for some time."""
    node, pid = assignment.node, os.getpid()
    name, until = (f"{node}:{pid}", 0.0) if node else (str(pid), math.inf)
    refused = functools.partial(assignment.row.raise_by, BUS_REFUSED, 1)
    channel = Channel(assignment.bus)
    return LocalBus(channel, loop, name, isolated, trusted_until=until, refused=refused)


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
        self._recent = RecentWriter(assignment.row, loop, os.getpid())
        failures.observers.append(self._recent.note_failure)
        slow = slow_calls(settings.breaker, self._recent, breaker, recorder)
        profiled = recorder.timed if recorder else None
        self._measuring = Measuring(
            assignment, settings, registry, failures, profiled, slow, self._recent.note_slow_turn
        )
        timed = self._measuring.timed
        isolated = isolation(assignment.row, failures)
        if recorder:
            isolated = recorder.time(ANYONE, CALLBACKS, isolated)
        self._bus = _bus(assignment, loop, isolated)
        unsent = UnsentBytes(settings.limits.max_unsent_bytes_per_worker)
        self._connections = OpenConnections(unsent=unsent)
        telemetry.served = functools.partial(served_now, assignment.row, self._connections)
        time = recorder.time if recorder else None
        self._asyncio = AsyncioLoop(
            loop, assignment.row, registry, failures, assignment.stacks, time
        )
        tasks_of = self._asyncio.tasks_of
        self._answers = Answers(self._connections, loop, self._channel, tasks_of=tasks_of)
        self._pools: Pools | None = None
        if make_pools is not None:
            row = assignment.row
            self._pools = make_pools(loop, isolated, telemetry, assignment.slot, row)
        self._view = self._make_view(isolated, access_log=settings.log.access)
        self._hooks = registry.host_hooks(failures, breaker=breaker, timed=timed)
        bind = functools.partial(registry.bind, report=failures, breaker=breaker, timed=timed)
        self._make_serving_parts(settings, bind)
        self._handlers = signal_handlers(lambda: self._channel.report(Report("leaving")))
        self._signals = Signals(self._handlers)

    def _make_view(self, isolated: Isolated, *, access_log: bool) -> PluginWorker:
        """Return what plugins see of the worker."""
        given = self._assignment
        view = PluginWorker(
            WorkerId(given.slot, os.getpid(), given.generation),
            self._bus,
            self.loop,
            self._connections,
            isolated,
            self._asyncio.get,
        )
        view.pools = self._pools
        view.log_request = RequestLog(self._telemetry) if access_log else None
        return view

    def _make_serving_parts(self, settings: Settings, bind: Callable[[str], ListenerHooks]) -> None:
        """Make what accepts and serves; `bind` binds the hooks of a protocol plugin."""
        assignment, telemetry, loop = self._assignment, self._telemetry, self.loop
        connections = self._connections
        wake = functools.partial(os.eventfd_write, assignment.wake, 1)
        capacity = Capacity(assignment.row, connections, loop, wake)
        setup = ConnectionSetup(
            assignment=assignment,
            settings=settings,
            worker=self._view,
            loop=loop,
            connections=connections,
            capacity=capacity,
            report=self._failures,
            telemetry=telemetry,
            bind=bind,
            recent=self._recent,
        )
        self._contexts = setup.make_contexts()
        self._asyncio.listening = [
            (context.listener, assignment.sockets[context.listener.index])
            for context in self._contexts
            if context.listener.index not in assignment.shards
        ]
        shards: dict[int, Shard] = {}
        datagrams: list[DatagramContext] = []
        if assignment.shards:  # a host with UDP listeners has imported it before the fork
            from host.worker.datagram_setup import DatagramSetup  # noqa: PLC0415

            made = DatagramSetup(self._view, assignment, loop, self._failures, telemetry)
            shards, datagrams = made.make_shards(setup.bind, settings), made.contexts
        self._shards = OwnedShards(shards, loop, self._channel.report)
        spread = settings.lifecycle.drain_spread_seconds
        self._draining = Draining(connections, assignment.streams, loop, spread, self._report_cut)
        self._sweep = Sweep(loop, connections)
        acceptor = setup.make_acceptor()
        self._admission = setup.make_admission(acceptor)
        self._turns = self._turn_handler(acceptor, settings, wake)
        self._end_turn = self._measuring.end_of_turn(
            self._turns.end, bind, self._contexts, datagrams
        )

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
        self._recent.note(Kind.STARTED)
        row.put(CURRENT_CALL, pack_call(kind_of(on_worker_start)))
        fine = self._hooks.tell(on_worker_start, self._view)
        forks.exit_if_plugin_fork()
        streams.fill()
        if not fine:
            failure = self._failures.last
            assert failure is not None
            cause = f"plugin {failure.plugin}: {failure.error}"
            if failure.traceback:
                cause = f"hook {failure.hook} of plugin {failure.plugin} raised {failure.error}"
            self._channel.report(Report("failed", cause, failure.traceback))
            return ExitCode.WORKER_START
        row.put(CURRENT_CALL, 0)
        if not die_with_parent(self._assignment.parent):  # undone by a plugin that changes the user
            return ExitCode.OK
        loop = self.loop
        self._signals.begin(self._handlers, loop)
        self._channel.watch(self._turns.add_orders)
        loop.on_turn_begin, loop.on_turn_end = self._turns.begin, self._end_turn
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
        self._recent.note(Kind.ENDED)
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

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Those that it cannot be without from its start on."""
        given = self._assignment
        return self.loop.fileno(), given.control.fileno(), given.bus.fileno(), given.wake

    def close(self) -> None:
        """Close what the worker opened."""
        pools = () if self._pools is None else (self._pools.close,)
        own = self._signals.close, self._bus.close, self.loop.close, self._channel.close
        close_each(*pools, *own)

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
                self._recent.note(Kind.DRAINING)
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
        self._answer(order, error)

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
        self._answer(order, error)

    def _answer(self, order: Ask, error: str) -> None:
        """Say how what was asked for went: "" is well."""
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
