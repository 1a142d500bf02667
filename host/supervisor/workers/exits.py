"""Reports of how each worker ended or hung: where it was, and what comes next."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from host.errors import ExitCode
from host.interfaces import ChildExit
from host.ipc import protocol
from host.ipc.current_call import unpack_call
from host.ipc.current_peer import peer_of
from host.ipc.doing import doing_of
from host.ipc.host_counts import HostCounts, Restart
from host.ipc.recent import recent_events, recent_lines
from host.ipc.scoreboard import CURRENT_CALL
from host.net.sockets import describe
from host.runtime import processes
from host.runtime.loop import Loop
from host.runtime.stacks import trim
from host.supervisor.workers import states
from host.supervisor.workers.handles import WorkerHandle, Workers
from host.supervisor.workers.last_call import LastCall
from host.telemetry import events
from host.telemetry.emitter import Telemetry
from host.text import counted

_CLOSED = "since a plugin has closed the host's descriptors by their numbers (os.closerange)"
_HANGS_KEPT = 10
_MAX_LINES = 60
_MAX_EVENTS = 40


class ExitReport(NamedTuple):
    """The end of one worker.

    Attributes:
        record: who it was.
        ended: how.
        view: what plugins are told.
        place: where it was.
        printed: the stacks that it has printed.
        failure: why it failed to start, if it has said so.
        recent: its last events, a line for each.
    """

    record: states.WorkerRecord
    ended: processes.Exit
    view: ChildExit
    place: str
    printed: str
    failure: protocol.Report | None
    recent: str

    @property
    def cause(self) -> str:
        """Why it did not get ready: in its own words if it said so."""
        if self.failure:
            return self.failure.cause
        if self.record.is_late():
            return f"not ready in time (start_timeout_seconds), {self.place}"
        return f"{self.ended} before it was ready, {self.place}"


class ExitReports:
    """Makes and publishes the reports of workers that end, hang, or have to be killed.

    Args:
        last_call: says where a worker was.
        counts: where it is counted why workers are replaced.
        memory: tells whether the kernel has killed for want of memory; made here if left out.
        is_stopped: tells whether a process is stopped, by its pid.

    Attributes:
        hangs: the last workers that hung: slot, pid, place, time and stacks.
        restarts: how many workers have ended that were not asked to.
    """

    def __init__(
        self,
        loop: Loop,
        workers: Workers,
        telemetry: Telemetry,
        last_call: LastCall,
        counts: HostCounts,
        *,
        memory: processes.OutOfMemory | None = None,
        is_stopped: Callable[[int], bool] = processes.is_stopped,
    ) -> None:
        self._loop, self._workers, self._telemetry = loop, workers, telemetry
        self._last_call, self._counts, self._is_stopped = last_call, counts, is_stopped
        self._memory = memory or processes.OutOfMemory()
        self._hung: dict[int, float] = {}
        self._told: set[int] = set()  # pids whose stacks and events are in the log
        self.hangs: deque[dict[str, Any]] = deque(maxlen=_HANGS_KEPT)
        self.restarts = 0

    def add_out_of_memory(self, handle: WorkerHandle, ended: processes.Exit) -> processes.Exit:
        """Add whether the kernel killed the worker for want of memory, if it may have."""
        if ended.signal != signal.SIGKILL or handle.record.state is states.WorkerState.ENDING:
            return ended
        return ended._replace(oom=self._memory.happened())

    def make(self, handle: WorkerHandle, ended: processes.Exit) -> ExitReport:
        """Make the report of a worker that has ended, before its channels are closed."""
        handle.channel.receive_last()
        handle.stack_reader.read()
        record = handle.record
        view = ChildExit(
            slot=record.slot,
            pid=record.pid,
            generation=record.generation,
            exit_code=ended.code,
            signal=ended.signal,
            age_seconds=self._loop.now - record.born,
            was_ready=record.was_ready,
            expected=record.expected,
        )
        return ExitReport(
            record=record,
            ended=ended,
            view=view,
            place=_CLOSED if ended.code == ExitCode.PLUGIN else self._place(handle),
            printed=handle.stack_reader.text,
            failure=handle.channel.failure,
            recent="" if record.expected else self._recent(handle),
        )

    def restore(self, restarts: int, hangs: Iterable[dict[str, Any]]) -> None:
        """Go on with what the supervisor before an exec remembered."""
        self.restarts = restarts
        self.hangs.extend(hangs)

    def publish(self, report: ExitReport, *, failed_to_start: bool, plan: str) -> None:
        """Emit the event of an end, and say what comes next."""
        record = report.record
        has_hung = self._hung.pop(record.pid, None) is not None
        told = record.pid in self._told
        self._told.discard(record.pid)
        cause = _restart(report, has_hung=has_hung, failed_to_start=failed_to_start)
        if cause is not None:
            self._counts.count_restart(record.slot, cause)
        if failed_to_start:
            failure = report.failure
            self._telemetry.emit(
                events.WORKER_START_FAILED,
                slot=record.slot,
                cause=report.cause,
                traceback=failure.traceback if failure else _cut(report.printed),
            )
            return
        known = {
            "slot": record.slot,
            "pid": record.pid,
            "cause": str(report.ended),
            "age_seconds": round(report.view.age_seconds, 3),
        }
        if record.expected and (record.state is states.WorkerState.ENDING or report.ended.in_order):
            self._telemetry.emit(events.WORKER_EXITED, **known)
            return
        self.restarts += not record.expected
        self._telemetry.emit(
            events.WORKER_DIED,
            **known,
            place=report.place,
            next=plan,
            traceback="" if told else _cut(report.printed),
            recent="" if told else report.recent,
        )

    def record_hang(self, pid: int, seconds: float) -> None:
        """Remember for how long a worker has hung; its stacks are on the way."""
        self._hung[pid] = seconds

    def report_hang(self, pid: int) -> None:
        """Tell of a worker that hangs, with the stacks that it has printed meanwhile."""
        handle = self._workers.get(pid)
        if handle is None:
            return
        self._told.add(pid)
        printed = self._printed(handle)
        place, slot = self._place(handle), handle.record.slot
        seconds = self._hung.get(pid, 0.0)
        self._telemetry.emit(
            events.WORKER_HUNG,
            slot=slot,
            pid=pid,
            seconds=seconds,
            place=place,
            traceback=printed,
            recent=self._recent(handle),
        )
        self.hangs.append(
            {
                "slot": slot,
                "pid": pid,
                "place": place,
                "at": self._loop.now,
                "stacks": printed.splitlines(),
            }
        )

    def report_kill(self, order: states.KillWorker) -> None:
        """Tell of a worker that is about to be killed, with what the log does not have yet."""
        handle = self._workers.get(order.pid)
        if handle is None:
            return
        told = order.pid in self._told
        self._told.add(order.pid)
        self._telemetry.emit(
            events.WORKER_KILLED,
            slot=handle.record.slot,
            pid=order.pid,
            cause=order.cause,
            place=self._place(handle),
            traceback="" if told else self._printed(handle),
            recent="" if told else self._recent(handle),
        )

    def _recent(self, handle: WorkerHandle) -> str:
        """Return the last events of a worker, for the log."""
        found, listeners = recent_events(handle.row), handle.generation.listeners
        return recent_lines(found, listeners, handle.record.pid, self._loop.now, _MAX_EVENTS)

    def _place(self, handle: WorkerHandle) -> str:
        call = unpack_call(handle.row.get(CURRENT_CALL))
        pid, listeners = handle.record.pid, handle.generation.listeners
        stacks, sender = handle.stack_reader.text, describe(peer_of(handle.row))
        doing = doing_of(handle.row)
        return self._last_call.describe(pid, call, stacks, listeners, sender, doing)

    def _printed(self, handle: WorkerHandle) -> str:
        handle.stack_reader.read()
        if handle.stack_reader.text:
            return _cut(handle.stack_reader.text)
        if self._is_stopped(handle.record.pid):
            return "no stacks: the process is stopped (SIGSTOP or a debugger)"
        return "no stacks: the process does not react to signals"


def _restart(report: ExitReport, *, has_hung: bool, failed_to_start: bool) -> Restart | None:
    """Return why another worker takes the place of one that has ended; None if none does."""
    if failed_to_start:
        return Restart.FAILED_TO_START
    if has_hung:
        return Restart.HUNG
    if report.ended.oom:
        return Restart.OUT_OF_MEMORY
    if not report.record.expected:
        return Restart.DIED
    return Restart.RECYCLED if report.record.retiring else None


def _cut(text: str) -> str:
    lines = trim(text).splitlines()
    if len(lines) > _MAX_LINES:
        lines = [*lines[:_MAX_LINES], f"… {counted(len(lines) - _MAX_LINES, 'more line')}"]
    return "\n".join(lines)
