"""The callbacks that are to run, each noted just before it does, for a while in each turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

WORD: ContextVar[int] = ContextVar("prefork word")
"""What is noted while code of a connection runs; set in the context of each connection."""

_SHARE_SECONDS = 0.001
_SECONDS_EACH = 0.000_001
"""Five times as long as it takes to leave one for later."""
_MOST_UNTIMED = 8
"""How many run at most before the clock is looked at again: that costs three of them."""

_take, _length = deque.popleft, deque.__len__
_LATER = SimpleNamespace(_cancelled=True)
"""What asyncio takes for a callback that was cancelled, and passes over."""


class Clock(Protocol):
    """What is needed of the host's loop."""

    now: float

    def time(self) -> float:
        """Return what the clock says at this very moment."""


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

    asyncio runs all that are to run in one go. After a millisecond the others are left for the next
    turn of the host's loop: thousands that are slow would keep it from everybody else, and would be
    taken for one that hangs. They are passed over for that, which takes a moment for each, so with
    very many more of them run.

    Args:
        note: where that is noted.
        callbacks: those that are to run already.
        loop: the host's loop: each of its turns has a time of its own.
    """

    __slots__ = ("_cells", "_left", "_loop", "_place", "_turn", "_until", "_untimed", "_word")

    def __init__(self, note: Note, callbacks: Iterable[Any], loop: Clock) -> None:
        super().__init__(callbacks)
        self._cells, self._place, self._word = note
        self._loop = loop
        self._turn = self._until = 0.0  # when the turn began, and until when callbacks may run
        self._left = 1  # so many run before the clock is looked at
        self._untimed = _MOST_UNTIMED  # the same for the next turn, fewer after one with slow ones

    def popleft(self) -> Any:
        """Take out the next callback, or leave it for the next turn."""
        self._left -= 1
        if not self._left and self._is_over():
            return _LATER
        handle = _take(self)
        self._cells[self._place] = handle._context.get(WORD, self._word)
        return handle

    def _is_over(self) -> bool:
        """Look at the clock; tell whether the time of this turn is over."""
        loop = self._loop
        now = loop.time()
        if self._turn != loop.now:
            self._turn = loop.now
            self._until = now + max(_SHARE_SECONDS, _SECONDS_EACH * _length(self))
            self._left = self._untimed
            self._untimed = min(2 * self._untimed, _MOST_UNTIMED)
            return False
        is_over = now >= self._until
        self._left = _MOST_UNTIMED
        if is_over:  # none runs until the turn is another
            self._left = self._untimed = 1
        return is_over
