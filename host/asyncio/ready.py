"""The callbacks that are to run, each noted just before it does."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, NamedTuple

WORD: ContextVar[int] = ContextVar("prefork word")
"""What is noted while code of a connection runs; set in the context of each connection."""

_take = deque.popleft


class Note(NamedTuple):
    """Where it is noted what runs.

    Attributes:
        cells, place: the cells that others read, and which of them.
        word: what is noted for code of no connection.
    """

    cells: Any
    place: int
    word: int


class Ready(deque[Any]):
    """The callbacks that are to run, in asyncio's order; each is noted as it is taken out.

    asyncio takes out a callback just before it runs it, whether it is a step of a task, a timer, or
    what waits for a file. Only before it can be noted for whom it runs: what hangs in C keeps the
    interpreter from running anything else.

    Args:
        note: where that is noted.
        callbacks: those that are to run already.
    """

    def __init__(self, note: Note, callbacks: Iterable[Any]) -> None:
        super().__init__(callbacks)
        self._cells, self._place, self._word = note

    def popleft(self) -> Any:
        """Take out the next callback."""
        handle = _take(self)
        self._cells[self._place] = handle._context.get(WORD, self._word)
        return handle
