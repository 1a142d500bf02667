"""Measures tasks: what the steps of each coroutine have taken, for the profile of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any

from host.asyncio.event_loop import OWNER, HostEventLoop
from host.text import named

Measure = Callable[[object, str, Callable[..., Any]], Callable[..., Any]]
"""Returns what to call in a function's place: its time counts for a plugin, under that name."""


class MeasuredCoroutine(Coroutine[Any, Any, Any]):
    """A coroutine whose steps are measured; in all else it is the coroutine that it is made of.

    Args:
        coroutine: that coroutine.
        step: calls a function with arguments, and measures it.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], step: Callable[..., Any]) -> None:
        self._coroutine, self._step = coroutine, step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """Run the coroutine up to its next wait."""
        return self._step(self._coroutine.send, value)

    def throw(self, *error: Any) -> Any:
        """Raise an error where the coroutine waits, and run it up to its next wait."""
        return self._step(self._coroutine.throw, *error)

    def close(self) -> None:
        """End the coroutine."""
        self._coroutine.close()


def measure_tasks(loop: HostEventLoop, measure: Measure) -> None:
    """Have the tasks of a loop measured while it serves, each by the name of its coroutine.

    Args:
        loop: the loop; whoever sets another task factory has its tasks made by that.
        measure: is given the plugin that the task belongs to, None if nobody knows.
    """
    steps: dict[tuple[int, str], Callable[..., Any]] = {}

    def step_of(owner: object, name: str) -> Callable[..., Any]:
        measured = measure(owner, f"task {name}", _call)

        def step(function: Callable[..., Any], *args: Any) -> Any:
            return measured(function, *args) if loop.is_serving else function(*args)

        return step

    def make(_loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        owner = (options.get("context") or copy_context()).get(OWNER)
        name = named(coro)[1]
        key = id(owner), name  # plugins live as long as the loop
        if key not in steps:
            steps[key] = step_of(owner, name)
        return asyncio.Task(MeasuredCoroutine(coro, steps[key]), loop=loop, **options)

    loop.set_task_factory(make)


def _call(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)
