"""Weighted round-robin: each worker takes a fixed share of the connections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import add

from pydantic import BaseModel, Field, NonNegativeInt

from host import Listener, WorkerView, hookimpl


class Options(BaseModel):
    """What can be set in `[options.weighted]`."""

    weights: list[NonNegativeInt] = Field(
        default=[],
        description="Weight of each slot, from slot 0 on; slots beyond the list weigh 1. A worker"
        " of weight 0 takes connections only while no other worker can.",
    )


class Weighted:
    """Take turns in proportion to the weights, evenly mixed.

    The smooth weighted round-robin that nginx uses: at each turn every candidate gains its weight,
    the one with the most takes the turn and pays the sum of what all gained. Weights 5, 1, 1
    give a a b a c a a, not a a a a a b c. After as many turns as the weights add up to, each
    worker had exactly its share and everything begins anew. A worker that is no candidate for
    a while gains nothing meanwhile, so it is not flooded when it is back. Each listener has
    turns of its own.
    """

    def __init__(self, options: Options) -> None:
        self._weights = dict(enumerate(options.weights))
        self._turns: dict[int, _Turns] = {}

    @hookimpl
    def choose_worker(self, listener: Listener, workers: Sequence[WorkerView]) -> WorkerView | None:
        """Return whose turn it is; None if no candidate weighs anything: round-robin decides."""
        turns = self._turns.get(listener.index)
        if turns is None:
            turns = self._turns[listener.index] = _Turns(self._weights)
        return turns.next(workers)


class _Turns:
    """Whose turn it is at one listener.

    Args:
        weights: the weight of each slot; those that are missing weigh 1.
    """

    def __init__(self, weights: Mapping[int, int]) -> None:
        self._weights = weights
        self._workers: Sequence[WorkerView] = ()
        self._weighing: list[WorkerView] = []  # those of `_workers` that weigh anything
        self._steps: list[int] = []  # what each of these gains at a turn
        self._gained: list[int] = []  # what each of these has
        self._kept: dict[int, int] = {}  # by slot, what it had when the candidates changed
        self._total = 0

    def next(self, workers: Sequence[WorkerView]) -> WorkerView | None:
        """Return who takes this turn, and have it pay; None if nobody weighs anything."""
        if workers is not self._workers or type(workers) is not tuple:
            self._change(workers)
        if not self._weighing:
            return None
        # Two passes that the interpreter has no part in: it is done for each connection.
        gained = self._gained = list(map(add, self._gained, self._steps))
        first = gained.index(max(gained))
        gained[first] -= self._total
        return self._weighing[first]

    def _change(self, workers: Sequence[WorkerView]) -> None:
        """Go on with other candidates: who is one no more keeps what it has gained."""
        for worker, gains in zip(self._weighing, self._gained, strict=True):
            self._kept[worker.slot] = gains
        weights = self._weights
        self._workers = workers
        self._weighing = [worker for worker in workers if weights.get(worker.slot, 1)]
        self._steps = [weights.get(worker.slot, 1) for worker in self._weighing]
        self._gained = [self._kept.get(worker.slot, 0) for worker in self._weighing]
        self._total = sum(self._steps)
