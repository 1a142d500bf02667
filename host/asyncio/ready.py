"""The callbacks that are to run, each told of just before it does."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from host.asyncio.current import CONNECTION
from host.interfaces import Connection

BeginCallback = Callable[[Connection | None], object]


class Ready(deque[Any]):
    """The callbacks that are to run, in asyncio's order; each is told of as it is taken out.

    asyncio takes out a callback just before it runs it, whether it is a step of a task, a timer, or
    what waits for a file. Only before it can be noted for whom it runs: what hangs in C keeps the
    interpreter from running anything else.

    Args:
        begin: told of the connection that a callback runs for.
        callbacks: those that are to run already.
    """

    def __init__(self, begin: BeginCallback, callbacks: Iterable[Any]) -> None:
        super().__init__(callbacks)
        self._begin = begin

    def popleft(self) -> Any:
        """Take out the next callback."""
        handle = super().popleft()
        self._begin(handle._context.get(CONNECTION))
        return handle
