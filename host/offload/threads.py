"""A pool of threads: for what waits, or holds no lock of the interpreter while it works."""

from __future__ import annotations

import functools
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

from host.interfaces import PoolError
from host.offload.pool import Surroundings, TaskPool
from host.offload.tasks import Task
from host.settings import PoolSettings

Work = Callable[[], Any]


def work(
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwds: dict[str, Any],
    items: list[Any] | None,
) -> Work:
    """Return a task as a function without arguments."""
    if items is None:
        return functools.partial(func, *args, **kwds)
    return lambda: [func(item) for item in items]


class ThreadPool(TaskPool):
    """A pool of threads, each of which is started when it is needed first.

    A thread cannot be ended: that of a task which was cancelled, or has had its time, is busy until
    the task returns. Where no further one can be started, those that there are do all tasks: an
    executor of `concurrent.futures` raises then, and does the task later all the same.

    Args:
        name: what the settings call it.
        settings: its settings.
        around: what the worker gives it.
    """

    def __init__(self, name: str, settings: PoolSettings, around: Surroundings) -> None:
        super().__init__(name, settings, around)
        self._work: SimpleQueue[Task | None] = SimpleQueue()
        self._threads = self._idle = 0
        self._running: set[Task] = set()
        self._closed = False

    def close(self) -> None:
        """Begin no more tasks; threads end as soon as they have nothing to do."""
        self._closed = True
        for _ in range(self._threads):
            self._work.put(None)
        self._freed_at_close(self._running)
        self._running.clear()

    def _pack(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwds: dict[str, Any], items: Any
    ) -> Work:
        if not self._threads and (cause := self._start()):
            raise PoolError(f"pool {self.name} has no thread that could do a task: {cause}")
        return work(func, args, kwds, items)

    def _begin(self) -> None:
        while self._queue.turns and not self._closed:
            if not self._idle and (self._threads == self._settings.size or self._start()):
                return
            task = self._take(self)
            if task is None:
                return
            self._idle -= 1
            self._running.add(task)
            self._work.put(task)

    def _start(self) -> str:
        """Start one more thread; return why that cannot be done, or "" if it has been."""
        thread = Thread(target=self._serve, name=f"pool {self.name}_{self._threads}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # EAGAIN: no memory, or too many (pthread_create(3))
            return str(error)
        self._threads += 1
        self._idle += 1
        return ""

    def _serve(self) -> None:
        """Do tasks, in a thread."""
        while self._run(self._work.get()):
            pass

    def _run(self, task: Task | None) -> bool:
        """Do a task; False if there are no more."""
        if task is None:
            return False
        try:
            value = task.work()
        except BaseException as error:
            end = functools.partial(self._fail, task, error)
        else:
            end = functools.partial(self._done, task, value)
        self._loop.call_from_thread(functools.partial(self._take_answer, task, end))
        return True

    def _take_answer(self, task: Task, end: Callable[[], None]) -> None:
        if task not in self._running:  # the pool is closed
            return
        self._running.discard(task)
        self._freed()
        self._idle += 1
        self._begin()
        end()
