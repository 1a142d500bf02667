"""What pools have to do with coroutines: only where asyncio is in use is anything of it touched."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from typing import Any


def in_coroutine() -> bool:
    """Tell whether a task of asyncio is being run: what it calls can be awaited."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        return asyncio.current_task() is not None
    except RuntimeError:  # no loop of asyncio runs in this thread
        return False


def wait(
    call_when_over: Callable[[Callable[[], object]], object], cancel: Callable[[], object]
) -> Generator[Any, None, None]:
    """Wait in a coroutine until something is over; what is given up meanwhile is cancelled.

    It is given up by a cancelled task, and by a coroutine that is closed or thrown an error.

    Args:
        call_when_over: has a function called then.
        cancel: cancels it.
    """
    asyncio: Any = sys.modules["asyncio"]  # it runs the coroutine that waits here
    future = asyncio.get_running_loop().create_future()
    call_when_over(lambda: None if future.done() else future.set_result(None))
    try:
        yield from future
    finally:
        if future.cancelled() or not future.done():
            cancel()
