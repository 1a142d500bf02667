"""Workers as schedulers see them, and schedulers as functions that choose one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from host import Listener
from host.plugins.schedulers.least_loaded import LeastLoaded
from host.plugins.schedulers.least_loaded import Options as LoadOptions
from host.plugins.schedulers.power_of_two_choices import Options as ChoiceOptions
from host.plugins.schedulers.power_of_two_choices import PowerOfTwoChoices
from host.plugins.schedulers.weighted import Options as WeightOptions
from host.plugins.schedulers.weighted import Weighted

LISTENER = Listener(0, "tcp://127.0.0.1:7000", "echo")
OTHER = Listener(1, "tcp://127.0.0.1:7001", "echo")


@dataclass(eq=False)
class View:
    """A worker: what a scheduler may know of it, set by the test."""

    slot: int
    active: int = 0
    outstanding: int = 0
    loop_lag_seconds: float = 0.0
    pid: int = 1
    generation: int = 0
    accepted: int = 0

    @property
    def load(self) -> int:
        """Its connections, with those that are on their way."""
        return self.active + self.outstanding


_VIEWS = st.builds(
    View,
    slot=st.integers(0, 7),
    active=st.integers(0, 5),
    outstanding=st.integers(0, 5),
    loop_lag_seconds=st.sampled_from([0.0, 0.001, 0.02, 0.5]),
)
CANDIDATES = st.lists(_VIEWS, min_size=1, max_size=8, unique_by=lambda view: view.slot).map(
    lambda views: tuple(sorted(views, key=lambda view: view.slot))
)
"""Draws candidates in the order of their slots."""


def idle(count: int) -> tuple[View, ...]:
    """Return so many workers that have nothing to do."""
    return tuple(View(slot) for slot in range(count))


def chooser(make: Callable[[], Any]) -> Callable[..., Any]:
    """Make a scheduler; return its hook as a function of the workers and, if need be, a listener.

    A hook implementation may leave out arguments, so each is called with those it names.
    """
    choose = make().choose_worker
    if "listener" in choose.__code__.co_varnames[: choose.__code__.co_argcount]:
        return lambda workers, listener=LISTENER: choose(listener, workers)
    return lambda workers, listener=LISTENER: choose(workers)


def power_of_two(seed: int | None = 1) -> PowerOfTwoChoices:
    """Make a scheduler that draws two and takes the less loaded."""
    return PowerOfTwoChoices(ChoiceOptions(seed=seed))


def by_load(lag: float = 0.01) -> LeastLoaded:
    """Make a scheduler for which so many seconds of lag weigh as much as a connection."""
    return LeastLoaded(LoadOptions(lag_seconds_per_connection=lag))


def by_weight(*weights: int) -> Weighted:
    """Make a scheduler that gives slots these weights."""
    return Weighted(WeightOptions(weights=weights))
