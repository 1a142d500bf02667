"""Remembers, for each connection, the chosen worker, the scheduler and the candidates."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from operator import attrgetter, itemgetter
from typing import NamedTuple

from host.dispatch.candidate import Candidate
from host.ipc.scoreboard import Cells

MAX_REMEMBERED = 4096
MAX_SHOWN = 16
"""Of more candidates than this only the first are remembered."""

_SENT = attrgetter("sent")


class Pass(NamedTuple):
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


class Choice(NamedTuple):
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


class Shown:
    """Those of the candidates that are remembered; they stay the same for many passes.

    Attributes:
        candidates: all of them, at least one.
        workers: the first ones.
        omitted: how many more there are.
        read: reads their `load_cells` in one go.
    """

    __slots__ = ("candidates", "omitted", "read", "workers")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates, self.workers = candidates, candidates[:MAX_SHOWN]
        self.omitted = len(candidates) - len(self.workers)
        self.read: Callable[[Cells], tuple[int, ...]] = itemgetter(
            *[at for one in self.workers for at in one.load_cells]
        )


class Look:
    """A pass as it is written down while it is made, to be worked out when somebody asks.

    Args:
        time: when it is.
        listener: of which connections wait.
        scheduler: the plugin whose answers are taken, unless `others` says something else.
        shown: the candidates.

    Attributes:
        chosen: the workers, one for each choice.
        others: for some choices, by their place in `chosen`, whose answer was taken.
        sent: of each worker the pid, how many notifications the pass sent it, and the number of the
            last one among all of the listener.
    """

    __slots__ = (
        "_cells",
        "_sent_before",
        "_shown",
        "_time",
        "chosen",
        "listener",
        "others",
        "scheduler",
        "sent",
    )

    def __init__(self, time: float, listener: int, scheduler: str, shown: Shown) -> None:
        self._time, self.listener, self.scheduler = time, listener, scheduler
        self._shown, workers = shown, shown.workers
        self._sent_before = list(map(_SENT, workers))
        self._cells = shown.read(workers[0].cells)
        self.chosen: list[Candidate] = []
        self.others: dict[int, str] = {}
        self.sent: list[tuple[int, int, int]] = []

    def place(self, pid: int, listener: int, number: int) -> int | None:
        """Return which choice led to that notification of that worker; None if none of these."""
        if listener != self.listener:
            return None
        for sent_to, count, last in self.sent:
            earlier = number - 1 - (last - count)  # how often the pass had chosen the worker before
            if sent_to == pid and 0 <= earlier < count:
                places = (at for at, worker in enumerate(self.chosen) if worker.pid == pid)
                return next(islice(places, earlier, None))
        return None

    def choice(self, place: int) -> Choice:
        """Work out one choice."""
        claimed, slots = self._cells[1::2], [worker.slot for worker in self._shown.workers]
        outstanding = [sent - each for sent, each in zip(self._sent_before, claimed, strict=True)]
        candidates = tuple(zip(slots, self._cells[::2], outstanding, strict=True))
        chosen = [worker.slot for worker in self.chosen]
        decision = Pass(self._time, candidates, self._shown.omitted, chosen)
        return Choice(decision, place, chosen[place], self.others.get(place, self.scheduler))


class ChoiceHistory:
    """The last passes, with the choice that each notification goes back to.

    A worker's n-th notification of a listener is answered by its n-th claim, which is one
    connection.

    Args:
        limit: how many choices are remembered; the last pass is remembered whole in any case.
    """

    def __init__(self, limit: int = MAX_REMEMBERED) -> None:
        self._limit = limit
        self._last: deque[Look] = deque()
        self._remembered = 0
        self._shown: Shown | None = None

    def look(
        self, candidates: Sequence[Candidate], listener: int, scheduler: str, now: float
    ) -> Look:
        """Begin to write down a pass: the candidates, at least one, as they are now."""
        shown = self._shown
        if shown is None or shown.candidates is not candidates:
            shown = self._shown = Shown(candidates)
        return Look(now, listener, scheduler, shown)

    def remember(self, look: Look) -> None:
        """Keep a pass that is complete, and forget the oldest ones if they are too many."""
        self._last.append(look)
        self._remembered += len(look.chosen)
        while self._remembered > self._limit and len(self._last) > 1:
            self._remembered -= len(self._last.popleft().chosen)

    def find(self, pid: int, listener: int, number: int) -> Choice | None:
        """Return the choice that a worker's `number`-th claim of `listener` goes back to."""
        for look in reversed(self._last):
            place = look.place(pid, listener, number)
            if place is not None:
                return look.choice(place)
        return None

    def forget(self, pid: int) -> None:
        """Forget the choices of a worker that has ended: nobody can ask about them."""
        for look in self._last:
            look.sent = [each for each in look.sent if each[0] != pid]
        self._last = deque(look for look in self._last if look.sent)
        self._remembered = sum(len(look.chosen) for look in self._last)
