"""What a task is, and where it waits, for people."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from host.interfaces import Connection
from host.text import counted, named

CONNECTION_ATTRIBUTE = "prefork_connection"
"""What a task has that serves a connection."""
_MOST_TASKS = 20
"""How many tasks are told of at most: who has more of them has them from one place."""
_FRAMES, _MOST_CHARACTERS, _MOST_OF_NAME = 4, 300, 60


def tasks_of(loop: asyncio.AbstractEventLoop, connection: Connection | None) -> list[str]:
    """Say of each task of a connection what it is and where it waits, but for the running one.

    Args:
        loop: its loop.
        connection: the connection; None stands for all tasks.
    """
    running, found = asyncio.current_task(loop), []
    for task in asyncio.all_tasks(loop):
        its = getattr(task, CONNECTION_ATTRIBUTE, None)
        if task is not running and (connection is None or its is connection):
            found.append(task)
    found.sort(key=lambda task: (len(task.get_name()), task.get_name()))  # Task-9, then Task-10
    said = [_described(task) for task in found[:_MOST_TASKS]]
    if len(found) > _MOST_TASKS:
        said.append(f"and {counted(len(found) - _MOST_TASKS, 'more task')}")
    return said


def _described(task: asyncio.Task[Any]) -> str:
    """Return its name, its coroutine, and the innermost places at which it waits."""
    coroutine: Any = task.get_coro()
    places = [*awaited(coroutine)][-_FRAMES:]
    while len(", ".join(places)) > _MOST_CHARACTERS and len(places) > 1:
        del places[0]
    text = f"task {task.get_name()[:_MOST_OF_NAME]} ({named(coroutine)[1][:_MOST_OF_NAME]})"
    return f"{text} waits: {', '.join(places)[:_MOST_CHARACTERS]}" if places else text


def awaited(coroutine: Any) -> Iterator[str]:
    """Say where a coroutine waits, then the coroutine that it waits for, and so on."""
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        yield f"{coroutine.__qualname__} ({frame.f_code.co_filename}:{frame.f_lineno})"
        coroutine = coroutine.cr_await
