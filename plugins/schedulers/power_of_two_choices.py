"""Power of two choices: look at two candidates at random, take the less loaded one."""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import BaseModel, Field

from host import WorkerView, hookimpl


class Options(BaseModel):
    """What can be set in `[options.power_of_two_choices]`."""

    seed: int | None = Field(
        default=None,
        description="Start of the random numbers; the same seed makes the same choices. By default"
        " they differ at each start, so that hosts behind one balancer do not move in step.",
    )


class PowerOfTwoChoices:
    """Take the one with fewer connections of two distinct candidates drawn at random.

    The second look is what matters: the fullest of n workers then exceeds the mean by about
    log log n, not log n (Mitzenmacher, "The power of two choices in randomized load
    balancing", 1996). It looks at two workers however many there are, and it does not
    follow the one that seems best at the moment, as everyone who looks at all of them does.
    """

    def __init__(self, options: Options) -> None:
        self._random = random.Random(options.seed)

    @hookimpl
    def choose_worker(self, workers: Sequence[WorkerView]) -> WorkerView:
        """Return the less loaded of two random candidates, the first of them if they are equal."""
        count = len(workers)
        first = self._random.randrange(count)
        if count == 1:
            return workers[first]
        second = self._random.randrange(count - 1)
        if second >= first:  # drawn from the others, in which every place after `first` moved up
            second += 1
        one, other = workers[first], workers[second]
        if other.active + other.outstanding < one.active + one.outstanding:
            return other
        return one
