"""What pools of processes and pools of threads have in common: tasks in, answers out."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from host.interfaces import PoolError, PoolFullError, TaskTimeoutError, Timer, WouldBlockError
from host.ipc.scoreboard import (
    TASK_RUNS,
    TASK_WAITS,
    TASKS_CANCELLED,
    TASKS_DONE,
    TASKS_FAILED,
    TASKS_LOST,
    TASKS_RUNNING,
    TASKS_TIMED_OUT,
    TASKS_WAITING,
    TURN_BUCKETS,
    WORKER_WORDS,
    Row,
    bucket_of,
)
from host.offload import coroutines
from host.offload.delivery import Owner, deliver
from host.offload.tasks import Queue, Result, Share, Task
from host.settings import PoolSettings
from host.telemetry.emitter import Telemetry

_GRACE_SECONDS = 1.0
"""How long a task goes on whose connection has ended: most are done by then, and to end one costs a
process."""

_LONGEST_SECONDS = 1e9
"""What is longer is as long: a float does not have any number."""


def _row_of_nobody() -> Row:
    """Return counters that nobody reads."""
    return Row([0] * WORKER_WORDS, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a pool is given by its worker.

    Attributes:
        loop: the worker's loop.
        isolated: calls what it is given so that an exception ends up in the log.
        telemetry: told of what happens to processes.
        slot: the worker's slot.
        row: where it counts.
    """

    loop: Any
    isolated: Callable[[Callable[[], object]], None]
    telemetry: Telemetry
    slot: int
    row: Row = field(default_factory=_row_of_nobody)


class TaskPool:
    """A pool; implements `host.Pool`. A subclass says who does the tasks.

    Args:
        name: what the settings call it.
        settings: its settings.
        around: what the worker gives it.

    Attributes:
        around: the same.
    """

    def __init__(self, name: str, settings: PoolSettings, around: Surroundings) -> None:
        self.name, self._settings, self.around = name, settings, around
        self._loop = around.loop
        self._cells, self._first = around.row.cells, around.row.index(0)
        self._queue = Queue(settings.max_queued)

    def __repr__(self) -> str:
        return f"<pool {self.name}: {self._settings.size} {self._settings.kind}>"

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[..., object] | None = None,
        error_callback: Callable[..., object] | None = None,
        *,
        connection: Owner | None = None,
        timeout: float | None = None,
    ) -> Result:
        """Have `func(*args, **kwds)` called in the pool."""
        seconds = self._seconds(timeout)
        if connection is not None and connection.closed:
            return self._never(connection)
        self._check_room(1, connection)
        work = self._pack(func, tuple(args), dict(kwds or {}), None)
        if connection is not None and connection.closed:  # by what was asked for its arguments
            return self._never(connection)
        share = self._queue.share(connection)
        result = Result(share, self._cancel, callback, error_callback)
        return self._submit(result, [work], 1, seconds)

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[..., object] | None = None,
        error_callback: Callable[..., object] | None = None,
        *,
        connection: Owner | None = None,
        timeout: float | None = None,
    ) -> Result:
        """Have `func(item)` called for each item in the pool."""
        size = 1 if chunksize is None else chunksize
        if size < 1:
            raise ValueError(f"chunksize must be at least 1, not {size}")
        seconds = self._seconds(timeout)
        if connection is not None and connection.closed:
            return self._never(connection)
        room = max(0, self._queue.room(connection))
        items = list(islice(iterable, min(room * size + 1, sys.maxsize)))
        self._check_room(max(1, -(-len(items) // size)), connection)
        # Without items there is one task without any: multiprocessing answers at once, too.
        firsts = range(0, max(len(items), 1), size)
        works = [self._pack(func, (), {}, items[first : first + size]) for first in firsts]
        if connection is not None and connection.closed:  # by what was asked for its items
            return self._never(connection)
        share = self._queue.share(connection)
        result = Result(share, self._cancel, callback, error_callback, len(items))
        return self._submit(result, works, size, seconds)

    def apply(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
    ) -> Result:
        """Return what a coroutine awaits."""
        _check_coroutine("apply", "apply_async")
        return self.apply_async(func, args, kwds)

    def map(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> Result:
        """Return what a coroutine awaits."""
        _check_coroutine("map", "map_async")
        return self.map_async(func, iterable, chunksize)

    def is_busy(self) -> bool:
        """Tell whether there are tasks that are not over."""
        return self._queue.count > 0

    def give_up(self) -> int:
        """Cancel all tasks, since the worker ends; return how many there were."""
        results = self._queue.results()
        count = self._queue.count
        for result in results:
            self._cancel(result)
        return count

    def close(self) -> None:
        """End what the pool has started."""
        raise NotImplementedError

    def close_in_fork(self) -> None:
        """Leave all to the parent, in a child that a plugin has forked."""

    # What a subclass says

    def _pack(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwds: dict[str, Any], items: Any
    ) -> Any:
        """Return a task in the form in which it is given to whoever does it.

        Raises:
            PicklingError: that cannot be done.
        """
        raise NotImplementedError

    def _begin(self) -> None:
        """Give tasks to those who have nothing to do."""
        raise NotImplementedError

    def _end_running(self, task: Task) -> None:
        """End a task that runs and is over already, if that can be done."""

    # What happens to tasks

    def _never(self, connection: Owner) -> Result:
        """Return the result of a task for a connection that nobody can answer any more."""
        result = Result(Share(connection), self._cancel)
        result.give_up()
        return result

    def _check_room(self, count: int, connection: Owner | None) -> None:
        """Check that so many tasks more may wait.

        Raises:
            PoolFullError: they may not.
        """
        if count <= self._queue.room(connection):
            return
        cause = f"{self._queue.count} of its tasks are not done"
        if connection is not None:
            cause += ", or too many of this connection"
        raise PoolFullError(
            f"pool {self.name} takes no {count} tasks more: {cause} "
            f"(pools.{self.name}.max_queued is {self._settings.max_queued})"
        )

    def _seconds(self, timeout: float | None) -> float:
        """Return for how many seconds a task may wait, and then run; 0 for any time.

        Raises:
            ValueError: that is no span of time.
        """
        if timeout is None:
            return self._settings.timeout_seconds
        if not timeout >= 0:
            raise ValueError(f"timeout must be a number of seconds, 0 or more, not {timeout}")
        # Here and not as a timer is made: then the task has begun, and would never be over.
        return float(min(timeout, _LONGEST_SECONDS))

    def _submit(self, result: Result, works: list[Any], size: int, seconds: float) -> Result:
        """Have the tasks of a result done, each of which makes `size` of its values."""
        result.tasks = [Task(work, result, at * size, seconds) for at, work in enumerate(works)]
        result.undone = len(works)
        now = self._loop.time()
        for task in result.tasks:
            task.since = now
        connection = result.share.connection
        if connection is not None:
            connection.begin_answer()
            share = result.share
            if share.drop is None:  # one function, which counts once however often it is given
                share.drop = functools.partial(self._drop, connection)
            connection.call_at_end(share.drop)
        self._queue.add(result)
        self._cells[self._first + TASKS_WAITING] += len(works)
        self._begin()
        if seconds > 0:
            for task in result.tasks:
                if task.timer is None:
                    task.timer = self._limit(task)
        return result

    def _take(self, runner: Any) -> Task | None:
        """Return the task whose turn it is, to be run by `runner`; None if nobody waits."""
        cells, first = self._cells, self._first
        while (task := self._queue.take()) is not None:
            cells[first + TASKS_WAITING] -= 1
            connection = task.result.share.connection
            if connection is not None and connection.closed:
                task.is_over = True  # its result is dropped with the connection
                cells[first + TASKS_CANCELLED] += 1
                continue
            task.runner = runner
            cells[first + TASKS_RUNNING] += 1
            self._measure(task, TASK_WAITS)
            if task.timeout > 0:
                if task.timer is not None:
                    task.timer.cancel()
                task.timer = self._limit(task)
            return task
        return None

    def _freed(self) -> None:
        """Note that a task does not run any more."""
        self._cells[self._first + TASKS_RUNNING] -= 1

    def _freed_at_close(self, tasks: Iterable[Task]) -> None:
        """Note so of tasks that were cancelled: those that still run then are lost."""
        for task in tasks:
            if task.is_over:
                self._freed()

    def _limit(self, task: Task) -> Timer:
        timer: Timer = self._loop.call_later(task.timeout, functools.partial(self._late, task))
        return timer

    def _done(self, task: Task, value: Any) -> None:
        """Take what a task has returned."""
        if self._strike(task, TASKS_DONE) and task.result.add(task.index, value):
            self._over(task.result)

    def _fail(self, task: Task, error: BaseException, word: int = TASKS_FAILED) -> None:
        """Take what a task has raised, or why it has not been done."""
        if self._strike(task, word):
            result = task.result
            result.fail(error)
            for other in result.tasks:
                self._strike(other)
            self._over(result)

    def _strike(self, task: Task, word: int = TASKS_CANCELLED) -> bool:
        """Note that a task is over, and count it; False if it was over before."""
        if task.is_over:
            return False
        task.is_over = True
        if task.runner is None:
            self._cells[self._first + TASKS_WAITING] -= 1
            self._queue.strike(task)
        else:
            self._measure(task, TASK_RUNS)
        if task.timer is not None:
            task.timer.cancel()
        self._cells[self._first + word] += 1
        return True

    def _measure(self, task: Task, first: int) -> None:
        """Count how long a task has waited, or has run; `first` is the word of the first bucket."""
        now = self._loop.time()
        nanoseconds = max(0, int((now - task.since) * 1e9))
        task.since = now
        cells, place, bucket = self._cells, self._first + first, bucket_of(nanoseconds)
        cells[place + (bucket if bucket < TURN_BUCKETS else TURN_BUCKETS - 1)] += 1
        cells[place + TURN_BUCKETS] += nanoseconds

    def _over(self, result: Result) -> None:
        """Deliver a result, and those of the same connection that have waited for it."""
        for each in self._queue.deliver(result):
            if not each.is_cancelled:  # as the one before it may just have done
                each.is_delivered = True
                deliver(each, self.around.isolated)
                each.wake()

    def _late(self, task: Task) -> None:
        """End a task that has waited or run for too long."""
        if task.runner is None:
            how = f"has waited for {task.timeout:g} s, and was not begun"
        else:
            how = f"was not done after {task.timeout:g} s"
        error = TaskTimeoutError(f"a task of pool {self.name} {how}")
        if task.runner is not None:
            self._end_running(task)
        self._fail(task, error, TASKS_TIMED_OUT)

    def _cancel(self, result: Result) -> None:
        """End all tasks of a result, and tell nobody."""
        self._withdraw(result, self._end_running)

    def _drop(self, connection: Owner) -> None:
        """Cancel the tasks of a connection that has ended; what runs has a moment to get done."""
        for result in self._queue.of(connection):
            self._withdraw(result, self._end_soon)

    def _withdraw(self, result: Result, end: Callable[[Task], object]) -> None:
        if result.is_delivered or result.is_cancelled:
            return
        result.give_up()
        for task in result.tasks:
            if self._strike(task) and task.runner is not None:
                end(task)
        if result.share.connection is not None:
            result.share.connection.end_answer()
        self._over(result)

    def _end_soon(self, task: Task) -> None:
        self._loop.call_later(_GRACE_SECONDS, lambda: self._end_running(task))

    def _give_up_waiting(self, error: PoolError) -> None:
        """Fail all tasks that wait: there is nobody who could do them."""
        while (task := self._queue.take()) is not None:
            self._fail(task, error)

    def _put_back(self, task: Task) -> None:
        """Have a task wait again that nobody has got, unless it is over."""
        if not task.is_over:
            task.runner = None
            self._cells[self._first + TASKS_WAITING] += 1
            self._queue.put_back(task)
            self._begin()

    def _lose(self, task: Task, error: BaseException) -> None:
        """Fail a task whose process has ended."""
        self._fail(task, error, TASKS_LOST)


def _check_coroutine(method: str, other: str) -> None:
    """Check that a coroutine calls a method that it can wait for.

    Raises:
        WouldBlockError: it is something else.
    """
    if not coroutines.in_coroutine():
        raise WouldBlockError(
            f"pool.{method}() would wait for the result, and the loop never waits: call "
            f"pool.{other}(…, callback=…), or await pool.{method}(…) in a coroutine"
        )
