"""Hands out no more connections of a listener than it may have open: others wait in the backlog."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from host.dispatch.candidate import Candidate
from host.dispatch.dispatcher import Dispatcher
from host.ipc.scoreboard import STARVED

Room = Callable[[], int]
"""Tells how many connections a listener may have more; it may be negative."""


class LimitedDispatcher(Dispatcher):
    """A dispatcher of listeners of which some have a number of places.

    A pass hands out no more than there are places. Whoever has to wait for one waits as if all
    workers were full: each connection that ends brings another pass.

    Attributes:
        rooms: how many places are free, for each listener that has a number of them. Set it before
            the first pass.
    """

    rooms: Mapping[int, Room] = {}
    _withheld = 0

    def plan(self, listener: int, now: float) -> list[tuple[Candidate, int]]:
        """Do one pass, as `Dispatcher.plan` does."""
        self._withheld = 0
        planned = super().plan(listener, now)
        if self._withheld:
            self._note_left(listener, self._withheld)
        return planned

    def _need(self, listener: int, now: float) -> int:
        need, room = super()._need(listener, now), self.rooms.get(listener)
        if room is None or need <= 0:
            return need
        if need <= room():
            return need
        # It is asked again once workers know that somebody waits: they tell of what ends later.
        cells = self._cells
        before, cells[STARVED] = cells[STARVED], 1
        free = max(0, room())
        self._withheld = max(0, need - free)
        if not self._withheld:
            cells[STARVED] = before
        return min(need, free)
