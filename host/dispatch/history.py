"""Remembers, for each connection, the chosen worker, the scheduler and the candidates."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter

from host.dispatch.candidate import Candidate
from host.ipc.scoreboard import Cells

MAX_REMEMBERED = 4096
MAX_SHOWN = 16
"""Of more candidates than this only the first are remembered."""

_SENT = attrgetter("sent")


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over the waiting connections: the candidates, and the choices made one by one.

    Attributes:
        time: when it was, in seconds of the monotonic clock.
        candidates: slot, open connections and outstanding notifications of each at the start.
        omitted: how many more there were.
        chosen: the slots chosen so far.
    """

    time: float
    candidates: tuple[tuple[int, int, int], ...]
    omitted: int
    chosen: list[int]


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of a pass.

    Attributes:
        decision: the pass.
        number: how many choices the pass had made before this one.
        slot: the slot of the worker that was chosen.
        scheduler: the name of the plugin that chose it.
    """

    decision: Pass
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


_Looked = tuple[float, list[int], int, list[int], tuple[int, ...], list[int]]
"""A pass as it is written down: the time, the slots of the candidates that are remembered, how many
more there were, what each was sent, its cells, and the slots chosen so far."""


class ChoiceHistory:
    """The last choices, by the notification that each led to.

    A worker's n-th notification of a listener is answered by its n-th claim, which is one
    connection. Choices are kept as they come and worked out only when one is looked for: every
    connection makes a choice, and few are asked about.
    """

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._last: deque[tuple[int, int, int, int, str, _Looked]] = deque(maxlen=limit)
        self._candidates: Sequence[Candidate] = ()
        self._shown: Sequence[Candidate] = ()
        self._slots: list[int] = []
        self._read: Callable[[Cells], tuple[int, ...]]

    def begin_pass(self, candidates: Sequence[Candidate], now: float) -> _Looked:
        """Write down a pass and its candidates, at least one; return it, for `record_choice`."""
        if candidates is not self._candidates:
            self._attend(candidates)
        shown = self._shown
        read = self._read(shown[0].cells)
        return now, self._slots, len(candidates) - len(shown), list(map(_SENT, shown)), read, []

    def _attend(self, candidates: Sequence[Candidate]) -> None:
        """Prepare to read the cells of these candidates in one go."""
        self._candidates, self._shown = candidates, candidates[:MAX_SHOWN]
        self._slots = [one.slot for one in self._shown]
        self._read = itemgetter(*[at for one in self._shown for at in one.load_cells])

    def record_choice(
        self, looked: _Looked, worker: Candidate, listener: int, number: int, scheduler: str
    ) -> None:
        """Remember that `worker` was chosen for its `number`-th notification of `listener`."""
        chosen = looked[-1]
        self._last.append((worker.pid, listener, number, len(chosen), scheduler, looked))
        chosen.append(worker.slot)

    def find(self, pid: int, listener: int, number: int) -> Choice | None:
        """Return the choice that a worker's `number`-th claim of `listener` goes back to."""
        key = (pid, listener, number)
        found = next((each[3:] for each in reversed(self._last) if each[:3] == key), None)
        if found is None:
            return None
        place, scheduler, (time, slots, omitted, sent, cells, chosen) = found
        loads = zip(slots, cells[::2], sent, cells[1::2], strict=True)
        candidates = tuple((slot, active, all_ - claimed) for slot, active, all_, claimed in loads)
        decision = Pass(time, candidates, omitted, chosen)
        return Choice(decision, place, chosen[place], scheduler)

    def forget(self, pid: int) -> None:
        """Forget the choices of a worker that has ended: nobody can ask about them."""
        kept = (each for each in self._last if each[0] != pid)
        self._last = deque(kept, maxlen=self._last.maxlen)
