"""Remembers who was chosen for each connection, by whom, and out of which candidates."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from host.candidate import Candidate

MAX_REMEMBERED = 4096
MAX_SHOWN = 16
"""Of more candidates than this only the first are remembered."""


@dataclass(slots=True)
class Decision:
    """The candidates of one pass, and whom they were chosen from one after the other.

    Attributes:
        time: when it was, in seconds of the monotonic clock.
        candidates: slot, open connections and outstanding notifications of each at the start.
        omitted: how many more there were.
        chosen: the slots chosen so far.
    """

    time: float
    candidates: tuple[tuple[int, int, int], ...]
    omitted: int
    chosen: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, candidates: Sequence[Candidate], now: float) -> Decision:
        """Write down the candidates of a pass."""
        shown = [(one.slot, one.active, one.outstanding) for one in candidates[:MAX_SHOWN]]
        return cls(now, tuple(shown), max(0, len(candidates) - MAX_SHOWN))


@dataclass(slots=True)
class Choice:
    """One choice of a decision: the how-manieth it was, the slot, and the scheduler."""

    decision: Decision
    number: int
    slot: int
    scheduler: str

    @property
    def candidates(self) -> list[tuple[int, int, int]]:
        """The candidates as they were when this choice was made."""
        before = self.decision.chosen[: self.number]
        return [
            (slot, active, outstanding + before.count(slot))
            for slot, active, outstanding in self.decision.candidates
        ]


class Decisions:
    """The last decisions, by the notification that each led to.

    A worker's n-th notification of a listener is its n-th claim, and so one connection. They are
    looked for one by one, since that is rare, and remembering is not.
    """

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._last: deque[tuple[int, int, int, Choice]] = deque(maxlen=limit)

    def add(
        self, decision: Decision, worker: Candidate, listener: int, number: int, scheduler: str
    ) -> None:
        """Remember that `worker` was chosen for its `number`-th notification of `listener`."""
        choice = Choice(decision, len(decision.chosen), worker.slot, scheduler)
        self._last.append((worker.pid, listener, number, choice))
        decision.chosen.append(worker.slot)

    def find(self, pid: int, listener: int, number: int) -> Choice | None:
        """Return the choice that a worker's `number`-th claim of `listener` goes back to."""
        key = (pid, listener, number)
        return next((each[3] for each in reversed(self._last) if each[:3] == key), None)

    def forget(self, pid: int) -> None:
        """Forget the choices of a worker that has ended: nobody can ask about them."""
        kept = (each for each in self._last if each[0] != pid)
        self._last = deque(kept, maxlen=self._last.maxlen)
