"""A pool without processes and threads: the test's own process does the tasks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from host.offload.child import LAST, perform
from host.offload.packing import packed, unpacked
from host.offload.pool import Surroundings, TaskPool
from host.offload.pools import no_pool
from host.offload.tasks import Task
from host.offload.threads import work
from host.settings import PoolSettings
from host.telemetry.emitter import Telemetry
from host.testing.loop import FakeLoop


class FakePool(TaskPool):
    """A pool of a fake worker: as many tasks as the pool has places for are done in each turn.

    Function, arguments and results are pickled, as they are on their way to a process and back; in
    a pool of threads they are not. Nothing else is different from a real pool but that a task
    shares the test's modules, that it cannot be killed, and that it takes no time: a test that
    needs tasks which are not done sets `paused`.

    Args:
        name: what the settings call it.
        loop: the loop of the test.
        isolated: calls what it is given so that an exception is kept.
        pools: the pools that the settings have; None for any pool, with its defaults.

    Attributes:
        paused: whether tasks wait, or go on if they have begun.

    Raises:
        PoolError: the settings have no such pool.
    """

    def __init__(
        self,
        name: str,
        loop: FakeLoop,
        isolated: Callable[[Callable[[], object]], None],
        pools: Mapping[str, PoolSettings] | None = None,
    ) -> None:
        if pools is not None and name not in pools:
            raise no_pool(name, pools)
        settings = PoolSettings() if pools is None else pools[name]
        super().__init__(name, settings, Surroundings(loop, isolated, Telemetry(), 0))
        self._free = settings.size
        self._running: list[Task] = []
        self._paused = False

    @property
    def paused(self) -> bool:
        """Whether tasks that have begun are not done, and others wait."""
        return self._paused

    @paused.setter
    def paused(self, value: bool) -> None:
        self._paused = value
        if not value:
            running, self._running = self._running, []
            for task in running:
                self._loop.call_from_thread(functools.partial(self._run, task))

    def close(self) -> None:
        """Begin no more tasks."""
        self._free = 0

    def _pack(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwds: dict[str, Any], items: Any
    ) -> Any:
        if self._settings.kind == "processes":
            return packed(self.name, func, args, kwds, items)
        return work(func, args, kwds, items)

    def _begin(self) -> None:
        while self._free and (task := self._take(self)) is not None:
            self._free -= 1
            if self._paused:
                self._running.append(task)
            else:
                self._loop.call_from_thread(functools.partial(self._run, task))

    def _end_running(self, task: Task) -> None:
        if task in self._running:
            self._running.remove(task)
            self._freed()
            self._free += 1
            self._begin()

    def _run(self, task: Task) -> None:
        if self._paused:
            self._running.append(task)
            return
        self._freed()
        self._free += 1
        self._begin()
        if self._settings.kind == "processes":
            kind, answer = perform(b"".join(task.work))
            is_value, value = unpacked(self.name, kind & ~LAST, answer)
        else:
            try:
                is_value, value = True, task.work()
            except BaseException as error:
                is_value, value = False, error
        if is_value:
            self._done(task, value)
        else:
            self._fail(task, value)
