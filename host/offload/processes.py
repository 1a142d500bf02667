"""A pool of processes: who of them does which task, and what comes after one that ends."""

from __future__ import annotations

import random
import signal
from collections import deque
from collections.abc import Callable
from typing import Any

from host.interfaces import PoolError, TaskLostError
from host.ipc.scoreboard import TURN_LASTED
from host.offload.busy_poll import BusyPoll
from host.offload.child import (
    LAST,
    NOT_READY,
    READY,
    STDERR,
    STDOUT,
)
from host.offload.packing import packed, unpacked
from host.offload.pool import Surroundings, TaskPool
from host.offload.process import PoolProcess, Start
from host.offload.tasks import Task
from host.runtime.loop import TimerHandle
from host.runtime.processes import Exit, OutOfMemory
from host.runtime.scheduling import NICEST, have_session_give_way
from host.settings import PoolSettings
from host.telemetry.events import (
    PLUGIN_PRINTED,
    POOL_NOT_STARTED,
    POOL_PROCESS_ENDED,
    Level,
)
from host.telemetry.tracing import trace_fields
from host.text import reason

_ATTEMPTS = 3
"""How many starts in a row may fail before tasks are failed: one may have been killed by chance."""
_LONGEST_PAUSE_SECONDS = 30.0
_START_SECONDS = 60.0
"""How long a process has to begin: one that is stopped, or hangs in a module, is replaced then."""
_END_SECONDS = 5.0
"""How long a process has to end after its last answer: one that is stopped then is killed."""
_AGAIN_SECONDS = (0.1, 0.3)
"""How much later it is tried again to have a session give way: others try that, too."""
_LONG_SECONDS = 0.001
"""The answer of a task that took longer comes a turn after its process got the next one: each of
both takes as long, with cold caches, as to serve several clients, who are served between them."""
_HELD_UP_NANOSECONDS = 10_000_000
"""After a turn that took longer, who waits for an answer may be out of time: it comes at once."""
_LINES_A_TURN = 50
"""How many lines of what tasks print are told in one turn: others are served between them."""
_PATIENCE_SECONDS = 1.0
"""How long the end of a worker waits for the processes that it has killed."""
_STREAMS = {STDOUT: ("stdout", Level.INFO), STDERR: ("stderr", Level.WARNING)}
_NO_ANSWERS = frozenset({READY, NOT_READY, STDOUT, STDERR})
"""Kinds of frames that are not the end of a task."""


class ProcessPool(TaskPool):
    """A pool of processes, which are started at once.

    Args:
        name: what the settings call it.
        settings: its settings.
        around: what the worker gives it.
        start: how a process is started.

    Attributes:
        processes: those that there are, also those that have not begun yet.
    """

    def __init__(
        self, name: str, settings: PoolSettings, around: Surroundings, start: Start
    ) -> None:
        super().__init__(name, settings, around)
        self._start = start
        self._memory = OutOfMemory()
        self.processes: set[PoolProcess] = set()
        self._idle: deque[PoolProcess] = deque()
        self._deadlines: dict[PoolProcess, TimerHandle] = {}  # of those that begin or end
        self._printed: deque[tuple[PoolProcess, int, bytes | bytearray]] = deque()
        self._is_telling = False
        self._undelivered: deque[tuple[Task, int, bytes | bytearray]] = deque()
        self._is_delivering = False
        self._busy_poll = BusyPoll(self._loop, start.poll_seconds)
        self._failures = 0  # starts that were of no use, one after the other
        self._killed = 0  # those that somebody else may have killed
        self._cause = ""  # why tasks cannot be done
        self._retry: TimerHandle | None = None
        self._closed = False
        self._fill()

    def close(self) -> None:
        """Kill all processes, and wait until they have ended."""
        self._closed = True
        for each in self.processes:
            each.kill()
        until = self._loop.time() + _PATIENCE_SECONDS
        for each in self.processes:
            each.wait(max(0.0, until - self._loop.time()))
            each.close()
        self._freed_at_close(each.task for each in self.processes if each.task is not None)
        self._freed_at_close(task for task, _, _ in self._undelivered)
        self._undelivered.clear()
        self.processes.clear()
        self._idle.clear()
        while self._printed:
            self._tell_printed(*self._printed.popleft())

    def close_in_fork(self) -> None:
        """Leave all to the parent, in a child that a plugin has forked."""
        for each in self.processes:
            each.close_in_fork()

    # Tasks

    def _pack(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwds: dict[str, Any], items: Any
    ) -> tuple[bytes, bytes]:
        if self._cause:
            raise PoolError(self._cause)
        return packed(self.name, func, args, kwds, items)

    def _begin(self) -> None:
        idle, turns = self._idle, self._queue.turns
        while idle and turns:
            process = idle[0]
            task = self._take(process)
            if task is None:
                return
            idle.popleft()
            process.give(task, is_followed=bool(turns))
            self._busy_poll.begin(process)

    def _end_running(self, task: Task) -> None:
        process: PoolProcess = task.runner
        if process.task is task:
            process.is_leaving = True  # its answer may have come: it gets no other task then
            process.kill()

    # Processes

    def _fill(self) -> None:
        """Start as many processes as are missing."""
        self._retry = None
        while len(self.processes) < self._settings.size and not self._closed:
            try:
                process = PoolProcess(self._start, self._loop, self._on_frame, self._on_end)
            except OSError as error:
                self._start_failed(f"a process cannot be started: {reason(error)}")
                return
            self.processes.add(process)
            self._limit_process(process, _START_SECONDS)

    def _have_give_way(self, process: PoolProcess) -> None:
        """Have it take little from others where the kernel looks at sessions first."""
        niceness = NICEST if self._settings.only_idle_cpu else self._settings.nice
        if process in self.processes and not have_session_give_way(process.pid, niceness):
            pause = random.uniform(*_AGAIN_SECONDS)
            self._loop.call_later(pause, lambda: self._have_give_way(process))

    def _limit_process(self, process: PoolProcess, seconds: float) -> None:
        """Have a process killed unless it has begun, or ended, by then."""
        self._forget_limit(process)
        self._deadlines[process] = self._loop.call_later(seconds, process.kill)

    def _forget_limit(self, process: PoolProcess) -> None:
        if (timer := self._deadlines.pop(process, None)) is not None:
            timer.cancel()

    def _on_frame(self, process: PoolProcess, kind: int, data: bytes | bytearray) -> None:
        if kind not in _NO_ANSWERS:
            self._take_answer(process, kind, data)
        elif kind in _STREAMS:
            self._printed.append((process, kind, data))
            if not self._is_telling:
                self._tell_some()
        elif kind == READY:
            if process.is_ready or process.is_leaving:  # a fork of it says so
                return
            self._forget_limit(process)
            process.is_ready = True
            self._have_give_way(process)  # not before: what begins keeps tasks waiting
            self._killed = 0
            self._cause = ""
            self._idle.append(process)
            self._begin()
        else:
            cause, _, stack = data.decode(errors="backslashreplace").partition("\0")
            self._let_go(process)
            self._failures = max(self._failures, _ATTEMPTS - 1)
            self._start_failed(f"preload failed: {cause}", stack)

    def _take_answer(self, process: PoolProcess, kind: int, data: bytes | bytearray) -> None:
        """Give the process its next task, and take the answer of this one."""
        task: Task | None = process.task
        if task is None:
            return
        process.task = None
        if not process.has_worked:
            process.has_worked = True
            self._failures = 0
        if task.timer is not None:
            task.timer.cancel()  # it was done in time, whenever that is told
        self._busy_poll.end(process)
        if kind & LAST:
            self._let_go(process)
        elif not process.is_leaving:
            self._idle.append(process)
            self._begin()
        self._undelivered.append((task, kind, data))
        is_short = self._loop.now - task.since < _LONG_SECONDS
        was_held_up = self._cells[self._first + TURN_LASTED] > _HELD_UP_NANOSECONDS
        # No more than one of each process: where turns are long, several are done in each.
        self._deliver_all_but(0 if is_short or was_held_up else self._settings.size)
        if self._undelivered and not self._is_delivering:
            self._is_delivering = True
            self._loop.call_later(0.0, self._deliver_next)

    def _deliver_next(self) -> None:
        """Deliver the answer that has waited longest, if there is one, in a turn of its own."""
        left = max(0, len(self._undelivered) - 1)
        self._is_delivering = left > 0
        if self._is_delivering:
            self._loop.call_later(0.0, self._deliver_next)
        self._deliver_all_but(left)

    def _deliver_all_but(self, count: int) -> None:
        """Deliver the answers that have waited longest, until no more than so many are left."""
        while len(self._undelivered) > count:
            task, kind, data = self._undelivered.popleft()
            if task.is_over:
                self._freed()
                continue
            is_value, value = unpacked(self.name, kind & ~LAST, data)
            self._freed()  # not before: what neither runs nor has ended is lost with the worker
            if is_value:
                self._done(task, value)
            else:
                self._fail(task, value)

    def _let_go(self, process: PoolProcess) -> None:
        """Expect the end of a process that has said so."""
        process.is_leaving = True
        self._limit_process(process, _END_SECONDS)

    def _on_end(self, process: PoolProcess, ended: Exit) -> None:
        """Answer for the task of a process that has ended, and start another process."""
        self.processes.discard(process)
        self._forget_limit(process)
        if process in self._idle:
            self._idle.remove(process)
        task: Task | None = process.task
        process.task = None
        if task is not None:
            self._freed()
            if not process.was_sent:  # it had ended before
                self._put_back(task)
                task = None
        if ended.signal is not None:
            ended = ended._replace(oom=self._memory.happened())
        was_killed = ended.signal == signal.SIGKILL and not ended.oom
        if process.is_ready and (task is not None or process.has_worked or was_killed):
            self._fill()
        elif was_killed and self._killed < _ATTEMPTS:
            self._killed += 1
            self._fill()  # somebody has killed it, which says nothing of the next one
        elif not process.is_leaving:
            before = "had done a task" if process.is_ready else "was ready"
            self._start_failed(f"a process has ended before it {before}: {ended}")
        if task is not None and not task.is_over:
            self._tell_end(process, ended)
            error = TaskLostError(
                f"a process of pool {self.name} (pid {process.pid}) has ended before its task was "
                f"done: {ended}",
                ended.code,
                ended.signal,
            )
            self._lose(task, error)
        elif task is None and process.is_ready and not process.is_leaving:
            self._tell_end(process, ended)

    def _start_failed(self, cause: str, stack: str = "") -> None:
        """Try again, later each time; without any process that works, tasks fail meanwhile."""
        if self._retry is not None:  # it is one of those that were started with this one
            return
        self._failures += 1
        over = self._failures - _ATTEMPTS
        pause = 0.0 if over < 0 else min(2.0 ** min(over, 10), _LONGEST_PAUSE_SECONDS)
        self._retry = self._loop.call_later(pause, self._fill)
        if over < 0:
            return
        self.around.telemetry.emit(
            POOL_NOT_STARTED,
            slot=self.around.slot,
            pool=self.name,
            cause=cause,
            seconds=pause,
            traceback=stack,
        )
        if not any(each.is_ready for each in self.processes):
            self._cause = f"pool {self.name} has no process that could do a task: {cause}"
            self._give_up_waiting(PoolError(self._cause))

    def _tell_end(self, process: PoolProcess, ended: Exit) -> None:
        self.around.telemetry.emit(
            POOL_PROCESS_ENDED,
            slot=self.around.slot,
            pool=self.name,
            pid=process.pid,
            cause=str(ended),
        )

    def _tell_some(self) -> None:
        """Tell some of what was printed; processes whose lines wait are not read meanwhile."""
        lines = 0
        while self._printed and lines < _LINES_A_TURN:
            process, kind, data = self._printed.popleft()
            lines += self._tell_printed(process, kind, data)
            if not any(each[0] is process for each in self._printed):
                process.go_on()
        for process, _, _ in self._printed:
            process.hold()
        self._is_telling = lines >= _LINES_A_TURN or bool(self._printed)
        if self._is_telling:
            self._loop.call_at(self._loop.now, self._tell_some)

    def _tell_printed(self, process: PoolProcess, kind: int, data: bytes | bytearray) -> int:
        """Tell what a process has printed; return how many lines that were."""
        stream, level = _STREAMS[kind]
        lines = data.decode(errors="backslashreplace").splitlines()
        for line in lines:
            self.around.telemetry.emit_at(
                level,
                PLUGIN_PRINTED,
                source=f"pool {self.name} (pid {process.pid})",
                plugin=None,
                stream=stream,
                text=line,
                **trace_fields(None),
            )
        return len(lines)
