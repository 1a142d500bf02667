"""Questions to the bus that a coroutine waits for, and changes that are made in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from host import Table, Worker

AGAIN_SECONDS = 1.0
"""When what is not known is asked again."""


async def ask(call: Callable[..., object], *arguments: object) -> Any:
    """Call what takes a callback as its last argument; return what the callback is given.

        if await ask(worker.bus.claim, "leader"):

    The callback is called before anything else that arrives later is handled; a coroutine goes on
    only after that. So what depends on the order of messages is done in callbacks, and only the
    rest in coroutines.

    Args:
        call: called with the arguments and the callback.
        arguments: what comes before the callback.

    Returns:
        What the callback was given; a tuple if that was several values.

    Raises:
        Exception: whatever `call` raises.
    """
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done(*answer: object) -> None:
        if not future.done():
            future.set_result(answer[0] if len(answer) == 1 else answer)

    call(*arguments, done)
    return await future


async def items_of(table: Table) -> dict[str, bytes]:
    """Return all of a table, as soon as it is known."""
    while (found := await ask(table.items)) is None:
        await asyncio.sleep(AGAIN_SECONDS)
    return dict(found)


def insist(worker: Worker, change: Callable[[Callable[[bool | None], object]], object]) -> None:
    """Change a table; again and again while nobody knows whether it was done.

        insist(worker, partial(table.delete, key))

    Args:
        worker: the worker, whose timers are used.
        change: makes the change, and has its answer in the callback that it is given.
    """

    def answered(is_done: bool | None) -> None:
        if is_done is None:
            worker.call_later(AGAIN_SECONDS, lambda: change(answered))

    change(answered)
