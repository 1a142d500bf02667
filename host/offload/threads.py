"""A pool of threads: for what waits, or holds no lock of the interpreter while it works."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures.thread import ThreadPoolExecutor
from typing import Any

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
    the task returns.

    Args:
        name: what the settings call it.
        settings: its settings.
        around: what the worker gives it.
    """

    def __init__(self, name: str, settings: PoolSettings, around: Surroundings) -> None:
        super().__init__(name, settings, around)
        self._threads = ThreadPoolExecutor(settings.size, thread_name_prefix=f"pool {name}")
        self._free = settings.size

    def close(self) -> None:
        """Begin no more tasks; threads end as soon as they have nothing to do."""
        self._free = 0
        self._threads.shutdown(wait=False)

    def _pack(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwds: dict[str, Any], items: Any
    ) -> Work:
        return work(func, args, kwds, items)

    def _begin(self) -> None:
        while self._free:
            task = self._take(self)
            if task is None:
                return
            self._free -= 1
            self._threads.submit(self._run, task)

    def _run(self, task: Task) -> None:
        """Do a task, in a thread."""
        try:
            value = task.work()
        except BaseException as error:
            end = functools.partial(self._fail, task, error)
        else:
            end = functools.partial(self._done, task, value)
        self._loop.call_from_thread(functools.partial(self._take_answer, end))

    def _take_answer(self, end: Callable[[], None]) -> None:
        self._freed()
        self._free += 1
        self._begin()
        end()
