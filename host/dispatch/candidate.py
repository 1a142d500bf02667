"""A worker as dispatch and schedulers see it."""

from __future__ import annotations

import time
from collections.abc import Callable

from host.ipc.assignment import WorkerId
from host.ipc.scoreboard import (
    ACCEPTED_ALL,
    ACTIVE,
    CLAIMED,
    CLAIMED_ALL,
    LISTENER_WORDS,
    REFUSING,
    SENT,
    SUSPENDED,
    SUSPENSIONS,
    TURN_LASTED,
    TURN_STARTED,
    Row,
)

_CERTAIN_TURNS = 3
"""After so many changes of the turn, at least one turn has begun and ended since a suspension."""


class Candidate:
    """A ready worker: what schedulers see of it, and what was sent to it.

    Args:
        row: its row of the scoreboard.
        worker: who it is.
        before: how many connections its slot had accepted before it.

    Attributes:
        cells: the scoreboard's cells.
        accounts: the index in `cells` of the worker's first counter for the first listener;
            those for the next listeners follow.
        refusing_cell: the index in `cells` of the flag by which the worker refuses connections.
        suspended: whether it has missed a claim and has not caught up since.
        held: whether an operator keeps new connections from it.
        eligible: whether schedulers may choose it.
        sent: how many notifications it was sent, and is to be sent by the pass that is under way.
        noted: how many of them the scoreboard counts: all of them, between passes.
        room: so many notifications can be sent to it before its load has to be looked at again.
    """

    __slots__ = (
        "_active",
        "_before",
        "_claimed",
        "_clock",
        "_row",
        "_seen",
        "_since",
        "_turn",
        "_turns",
        "accounts",
        "cells",
        "eligible",
        "generation",
        "held",
        "noted",
        "pid",
        "refusing_cell",
        "room",
        "sent",
        "slot",
        "suspended",
    )

    def __init__(
        self,
        row: Row,
        worker: WorkerId,
        before: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._row, self._clock = row, clock
        self.cells, self.accounts = row.cells, row.cell(0, 0)
        self._active, self._claimed = row.index(ACTIVE), row.index(CLAIMED_ALL)
        self.refusing_cell = row.index(REFUSING)
        self.slot, self.pid, self.generation = worker
        self._before = before - row.get(ACCEPTED_ALL)
        self.sent = self.noted = row.sum(SENT)
        self._seen, self._since = self.sent, 0.0  # the claims at the last look; since when
        self._turn, self._turns = (0, 0), 0  # while suspended: the loop's last turn; how many came
        self.suspended = self.held = self.eligible = False
        row.put(SUSPENDED, 0)  # a supervisor before an exec may have left it
        self.room = 0

    def __repr__(self) -> str:
        return f"<worker {self.slot} (pid {self.pid})>"

    @property
    def active(self) -> int:
        """Connections open now."""
        return self.cells[self._active]

    @property
    def outstanding(self) -> int:
        """Notifications sent and not yet claimed."""
        return self.sent - self.cells[self._claimed]

    @property
    def load(self) -> int:
        """Connections that are open or will be: never too few.

        A worker that acts on a notification raises `active` first; so it is read last here.
        """
        return self.outstanding + self.active

    @property
    def accepted(self) -> int:
        """Connections accepted so far in this slot."""
        return self._before + self._row.get(ACCEPTED_ALL)

    @property
    def loop_lag_seconds(self) -> float:
        """How long the present or, between turns, the last loop turn has taken."""
        return self._row.turn_seconds(self._clock())

    @property
    def refusing(self) -> bool:
        """Whether the worker itself asks for nothing more at the moment."""
        return self.cells[self.refusing_cell] != 0

    def cell(self, listener: int, counter: int) -> int:
        """Return the index of one of the row's counters in the scoreboard's cells."""
        return self.accounts + listener * LISTENER_WORDS + counter

    @property
    def load_cells(self) -> tuple[int, int]:
        """Where, in `cells`, are how many connections are open, and how many claims were made."""
        return self._active, self._claimed

    def consider(self, limit: int) -> bool:
        """Look whether schedulers may choose it, of which `limit` is the most it may hold."""
        self.room = limit - self.load
        self.eligible = self.room > 0 and not (self.suspended or self.held or self.refusing)
        return self.eligible

    def note_sent(self, listener: int, now: float) -> tuple[int, int]:
        """Have the scoreboard count what is about to be sent: what a pass has added to `sent`.

        From `now` on the worker is waited for, unless more is outstanding already.

        Returns:
            How many that is, and how many of that listener have been sent to this row.
        """
        noted, sent = self.noted, self.sent
        cells, at = self.cells, self.accounts + listener * LISTENER_WORDS + SENT
        cells[at] = number = cells[at] + sent - noted
        self.noted = sent
        if cells[self._claimed] == noted:
            self._seen, self._since = noted, now
        return sent - noted, number

    def take_back(self, listener: int, amount: int) -> None:
        """Count notifications as not sent."""
        self.sent -= amount
        self.noted -= amount
        self.room += amount
        self._row.add(listener, SENT, -amount)

    def recount(self) -> None:
        """Read how much was sent."""
        self.sent = self.noted = self._row.sum(SENT)

    def silent_since(self, now: float) -> float | None:
        """Return since when it has claimed nothing, or None if there is nothing to claim.

        A worker that goes on claiming is busy and not hung, however long the last one takes.
        """
        claimed = self._row.get(CLAIMED_ALL)
        if claimed == self.sent:
            return None
        if claimed != self._seen:
            self._seen, self._since = claimed, now
        return self._since

    def has_lost(self) -> bool:
        """Tell whether notifications are lost or doubled; call it again and again if suspended.

        A loop has read its pipe, and acted on it, by the end of the turn after this one. What
        is not claimed then, and was sent before, never came.
        """
        outstanding = self.outstanding
        if outstanding <= 0 or not self.suspended:
            return outstanding < 0
        turn = (self._row.get(TURN_STARTED), self._row.get(TURN_LASTED))
        if turn != self._turn:
            self._turn, self._turns = turn, self._turns + 1
        return self._turns > _CERTAIN_TURNS

    def count_claimed_as_sent(self, listeners: int) -> None:
        """Count as sent what is claimed, no more and no less."""
        for listener in range(listeners):
            claimed = self._row.count(listener, CLAIMED)
            self._row.add(listener, SENT, claimed - self._row.count(listener, SENT))
        self.recount()

    def suspend(self) -> None:
        """Count no more on what was sent, until the worker has caught up."""
        self.suspended, self.eligible = True, False
        self._turns = 0
        self._row.put(SUSPENDED, 1)
        self._row.put(SUSPENSIONS, self._row.get(SUSPENSIONS) + 1)

    def resume(self) -> None:
        """Count on what is sent again; `consider` says whether it is eligible."""
        self.suspended = False
        self._row.put(SUSPENDED, 0)
