"""Weighted round-robin: each worker takes a fixed share of the connections."""

from __future__ import annotations

from collections.abc import Sequence

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
        self._gained: dict[int, dict[int, int]] = {}

    @hookimpl
    def choose_worker(self, listener: Listener, workers: Sequence[WorkerView]) -> WorkerView | None:
        """Return whose turn it is; None if no candidate weighs anything: round-robin decides."""
        gained = self._gained.setdefault(listener.index, {})
        chosen, most, total = None, 0, 0
        for worker in workers:
            weight = self._weights.get(worker.slot, 1)
            if weight == 0:
                continue
            total += weight
            gained[worker.slot] = gains = gained.get(worker.slot, 0) + weight
            if chosen is None or gains > most:
                chosen, most = worker, gains
        if chosen is not None:
            gained[chosen.slot] -= total
        return chosen
