"""The supervisor: watches the listeners, hands out what waits, keeps the workers alive."""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, assert_never

from host import control, events, pool, processes
from host.assignment import Assignment
from host.control import ControlChannel
from host.dispatch import Dispatcher, Policy
from host.errors import ExitCode, PluginError
from host.exchange import Exchange
from host.failures import Failures
from host.gate import Gate
from host.listeners import ListeningSocket, queue_length
from host.logs import LogWriter
from host.loop import READ, Loop, TimerHandle
from host.passes import Passes
from host.registry import Registry
from host.scoreboard import Scoreboard
from host.signals import Signals
from host.telemetry import Telemetry
from host.views import ChildExit, Listener
from settings import Settings

_RETRY_SECONDS = 0.05
_LEAVE_SECONDS = 0.1
"""How long a worker that is told to go waits: a service manager tells all processes at once."""


@dataclass(frozen=True, slots=True)
class HostView:
    """What `on_host_start` is told."""

    name: str
    pid: int
    workers: int
    listeners: tuple[Listener, ...]
    hook: Callable[[str, Sequence[str]], Callable[..., Any]]


def _policy(settings: Settings) -> pool.Policy:
    lifecycle = settings.lifecycle
    return pool.Policy(
        workers=settings.workers,
        respawn=settings.respawn,
        start_timeout=lifecycle.start_timeout_seconds,
        drain_timeout=lifecycle.drain_timeout_seconds,
        pause_max=lifecycle.respawn_backoff_max_seconds,
    )


class Supervisor:
    """The parent process. It never reads a byte of a client's.

    Args:
        settings: the validated settings.
        registry: the loaded plugins.
        sockets: the bound listeners; the supervisor closes them.
        telemetry: where events are told.
        log: writes the log lines; the supervisor's loop has it try again when it must.
        run_worker: what a worker does in its process; returns the exit code.
        max_connections: how many connections one worker may hold.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        sockets: Sequence[ListeningSocket],
        telemetry: Telemetry,
        log: LogWriter,
        *,
        run_worker: Callable[[Assignment], int],
        max_connections: int,
    ) -> None:
        self._settings, self._sockets, self._telemetry = settings, tuple(sockets), telemetry
        self._registry, self._run_worker = registry, run_worker
        self._listeners = tuple(listener.view for listener in sockets)
        self._failures = Failures(telemetry)
        self._hooks = registry.host_hooks(self._failures)
        self._channels: dict[int, ControlChannel] = {}
        self._code = ExitCode.OK
        self._pool_timer: TimerHandle | None = None
        self._pool = pool.Pool(_policy(settings))
        self._loop = Loop(settings.limits.max_events)
        log.attend(lambda function: self._loop.call_at(self._loop.now + _RETRY_SECONDS, function))
        self._exchange = Exchange(self._loop, telemetry)
        self._scoreboard = Scoreboard(settings.workers, len(sockets))
        self._dispatcher, self._passes = self._build_dispatch(max_connections)
        self._gate = Gate(self._loop, sockets, quiet=self._passes.quiet, done=self._drain_all)
        self._signals = Signals(
            {
                signal.SIGCHLD: lambda _: self._reap(),
                signal.SIGTERM: self._on_stop_signal,
                signal.SIGINT: self._on_stop_signal,
                signal.SIGHUP: self._on_stop_signal,
                signal.SIGQUIT: lambda number: self._stop_now(number.name),
            }
        )
        self._stop_deadline: float | None = None

    def _build_dispatch(self, max_connections: int) -> tuple[Dispatcher, Passes]:
        sockets = self._sockets
        lengths = [self._queue_length(listener) for listener in sockets]
        dispatcher = Dispatcher(
            self._scoreboard.cells,
            [(listener.view, ask) for listener, (ask, _) in zip(sockets, lengths, strict=True)],
            self._hooks.schedulers,
            Policy(max_connections, self._settings.dispatch.missed_claim_ms / 1000),
            report=self._failures,
            telemetry=self._telemetry,
        )
        passes = Passes(
            self._loop,
            dispatcher,
            self._scoreboard,
            sockets,
            send=lambda pid, data: self._channels[pid].send(data),
            blind=not all(known for _, known in lengths),
        )
        return dispatcher, passes

    def run(self) -> ExitCode:
        """Start the workers, serve until told to stop, and return the exit code.

        Raises:
            PluginError: a plugin's `on_host_start` failed; nothing was started.
        """
        try:
            self._start()
            self._loop.run()
            return self._code
        finally:
            self._close()

    # Starting and ending

    def _start(self) -> None:
        settings = self._settings
        view = HostView(
            settings.name, os.getpid(), settings.workers, self._listeners, self._registry.hook
        )
        if not self._hooks.on_host_start(view):
            failure = self._failures.last
            assert failure is not None
            raise PluginError(
                failure.plugin,
                f"hook on_host_start raised {failure.error}\n{failure.traceback}",
                hook="on_host_start",
            )
        self._loop.add(self._signals.fileno(), READ, self._signals.handle)
        self._loop.on_rest = self._exchange.flush
        self._passes.start()
        # What was allocated so far stays as it is: no collector of any worker writes to it, so its
        # pages stay shared.
        gc.collect()
        gc.freeze()
        self._carry_out(self._pool.start(self._loop.now))

    def _close(self) -> None:
        """Leave nothing behind: no child, no socket file, no descriptor."""
        for pid in self._pool.members:  # only after an error of the host's own
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for listener in self._sockets:
            listener.close()
        self._close_own()
        self._passes.close()
        self._scoreboard.close()

    def _close_own(self) -> None:
        """Close what the supervisor alone uses; a worker does so first of all."""
        self._signals.close()
        self._loop.close()
        self._exchange.close()
        for channel in self._channels.values():
            channel.close()

    def _queue_length(self, listener: ListeningSocket) -> tuple[Callable[[], int], bool]:
        """Return the function that tells the listener's queue length, and whether it knows it."""
        function, limit, cause = queue_length(listener)
        address = listener.view.address
        self._telemetry.emit(events.LISTENING, address=address, plugin=listener.view.plugin)
        if limit is None:
            self._telemetry.emit(events.BACKLOG_UNKNOWN, address=address, cause=cause)
        elif limit < listener.wanted:
            self._telemetry.emit(
                events.BACKLOG_CAPPED, address=address, actual=limit, wanted=listener.wanted
            )
        return function, limit is not None

    # Workers

    def _carry_out(self, actions: list[pool.Action]) -> None:
        for action in actions:
            match action:
                case pool.Fork():
                    self._fork(action.slot)
                case pool.Drain():
                    self._order_drain(action)
                case pool.Kill():
                    self._kill(action)
                case pool.Ready():
                    self._telemetry.emit(events.HOST_READY, workers=self._settings.workers)
                case pool.Finish():
                    self._code = action.code
                    self._loop.stop()
                case _:
                    assert_never(action)
        self._arm_pool()

    def _arm_pool(self) -> None:
        if self._pool_timer is not None:
            self._pool_timer.cancel()
            self._pool_timer = None
        due = self._pool.deadline()
        if due is not None:
            self._pool_timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._carry_out(self._pool.tick(self._loop.now))

    def _fork(self, slot: int) -> None:
        with ExitStack() as theirs, ExitStack() as ours:
            try:
                control_pair, bus_pair = socket.socketpair(), socket.socketpair()
                for mine, its in (control_pair, bus_pair):
                    ours.enter_context(mine)
                    theirs.enter_context(its)
                assignment = self._assignment(slot, control_pair[1], bus_pair[1])
                pid = processes.fork(lambda: self._become_worker(assignment, ours))
            except OSError as error:  # EAGAIN, ENOMEM, EMFILE: the machine is short of something
                self._fork_failed(slot, error)
                return
            ours.pop_all()
        channel = ControlChannel(control_pair[0])
        self._channels[pid] = channel
        self._loop.add(channel.fileno(), READ, lambda _: self._on_report(pid))
        self._exchange.add(pid, bus_pair[0])
        self._pool.forked(slot, pid, self._loop.now)
        self._telemetry.emit(events.WORKER_STARTED, slot=slot, pid=pid)

    def _fork_failed(self, slot: int, error: OSError) -> None:
        seconds = self._pool.fork_failed(slot, self._loop.now)
        reason = error.strerror or str(error)
        self._telemetry.emit(events.FORK_FAILED, slot=slot, error=reason, seconds=seconds)

    def _assignment(self, slot: int, channel: socket.socket, bus: socket.socket) -> Assignment:
        return Assignment(
            slot,
            generation=0,
            parent=os.getpid(),
            control=channel,
            bus=bus,
            listeners=self._listeners,
            sockets=tuple(listener.sock for listener in self._sockets),
            scoreboard=self._scoreboard,
            wake=self._passes.wake,
        )

    def _become_worker(self, assignment: Assignment, ours: ExitStack) -> int:
        ours.close()
        self._close_own()
        return self._run_worker(assignment)

    def _order_drain(self, order: pool.Drain) -> None:
        """Tell a worker to drain; a full pipe is tried again until the worker is gone."""
        member, channel = self._pool.members.get(order.pid), self._channels.get(order.pid)
        if member is None or channel is None:
            return
        self._dispatcher.gone(member.slot)
        if not channel.send(control.drain_order(order.deadline)):
            again = self._loop.now + _RETRY_SECONDS
            self._loop.call_at(again, lambda: self._order_drain(order))

    def _kill(self, order: pool.Kill) -> None:
        slot = self._pool.members[order.pid].slot
        self._telemetry.emit(events.WORKER_KILLED, slot=slot, pid=order.pid, cause=order.cause)
        os.kill(order.pid, signal.SIGKILL)

    def _on_report(self, pid: int) -> None:
        channel, member = self._channels[pid], self._pool.members[pid]
        reports = channel.receive()
        if reports is None:  # if the worker has died, its exit says more
            self._loop.remove(channel.fileno())
            return
        now = self._loop.now
        for report in reports:
            if report.kind == "ready":
                self._worker_ready(member, now)
            elif report.kind == "leaving":
                self._loop.call_at(now + _LEAVE_SECONDS, lambda: self._let_leave(pid))

    def _let_leave(self, pid: int) -> None:
        """Have a worker drain that was sent SIGTERM, unless the host was sent it as well."""
        if self._stop_deadline is None:
            self._carry_out(self._pool.drain(pid, self._loop.now))

    def _worker_ready(self, member: pool.Member, now: float) -> None:
        self._telemetry.emit(
            events.WORKER_READY, slot=member.slot, pid=member.pid, seconds=now - member.born
        )
        actions = self._pool.ready(member.pid, now)
        if member.state is pool.State.READY:
            self._dispatcher.ready(self._scoreboard.rows[member.slot], member.pid, 0)
        self._carry_out(actions)
        self._passes.run_all()

    def _reap(self) -> None:
        for ended in processes.reap():
            member = self._pool.members.get(ended.pid)
            if member is None:
                self._telemetry.emit(events.UNKNOWN_CHILD, pid=ended.pid, cause=str(ended))
            else:
                self._buried(member, ended)
        self._passes.run_all()

    def _buried(self, member: pool.Member, ended: processes.Exit) -> None:
        """Take leave of one worker: tell the plugins, then do what the pool decides."""
        now = self._loop.now
        channel = self._channels[member.pid]
        channel.receive()
        self._dispatcher.gone(member.slot)
        self._scoreboard.rows[member.slot].write_off()
        self._hooks.on_child_exit(
            ChildExit(
                slot=member.slot,
                pid=member.pid,
                generation=0,
                exit_code=ended.code,
                signal=ended.signal,
                age_seconds=now - member.born,
                was_ready=member.was_ready,
                expected=member.expected,
            )
        )
        del self._channels[member.pid]
        self._loop.remove(channel.fileno())
        channel.close()
        self._exchange.remove(member.pid)
        first_failure = not self._pool.stopping
        actions = self._pool.exited(member.pid, ended.code, ended.signal, now)
        if not member.was_ready and not member.expected and first_failure:
            self._tell_start_failed(member, ended, channel.failure)
        else:
            self._tell_exit(member, ended, now)
        self._carry_out(actions)

    def _tell_start_failed(
        self, member: pool.Member, ended: processes.Exit, failure: control.Report | None
    ) -> None:
        self._telemetry.emit(
            events.WORKER_START_FAILED,
            slot=member.slot,
            cause=failure.cause if failure else f"{ended} before it was ready",
            traceback=failure.traceback if failure else "",
        )

    def _tell_exit(self, member: pool.Member, ended: processes.Exit, now: float) -> None:
        known = {
            "slot": member.slot,
            "pid": member.pid,
            "cause": str(ended),
            "age_seconds": round(now - member.born, 3),
        }
        if member.expected:
            self._telemetry.emit(events.WORKER_EXITED, **known)
            return
        pause = self._pool.pause_before(member.slot, now)
        plan = "it is not replaced"
        if not self._pool.stopping and self._settings.respawn:
            plan = f"replaced in {pause:.1f} s" if pause else "replaced at once"
        self._telemetry.emit(events.WORKER_DIED, **known, next=plan)

    # Stopping

    def _on_stop_signal(self, number: signal.Signals) -> None:
        if self._stop_deadline is not None:
            if number is signal.SIGINT:
                self._stop_now(f"a second {number.name}")
            return
        seconds = self._settings.lifecycle.drain_timeout_seconds
        self._telemetry.emit(events.HOST_STOPPING, cause=number.name, seconds=seconds)
        now = self._loop.now
        self._stop_deadline = now + seconds
        self._scoreboard.gate_shut = True
        self._gate.shut(now, seconds)

    def _stop_now(self, cause: str) -> None:
        self._telemetry.emit(events.HOST_STOPPING_NOW, cause=cause)
        self._stop_deadline = self._loop.now
        self._gate.close()
        self._carry_out(self._pool.stop(self._loop.now, quick=True))

    def _drain_all(self) -> None:
        self._passes.stop()
        assert self._stop_deadline is not None
        self._carry_out(self._pool.stop(self._loop.now, deadline=self._stop_deadline))
