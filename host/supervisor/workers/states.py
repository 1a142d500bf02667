"""What the pool knows of workers, and what it has done with them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from host.errors import ExitCode
from host.ipc.assignment import WorkerId


class PoolPolicy(NamedTuple):
    """What the settings say about the pool.

    Attributes:
        workers: how many slots.
        respawn: whether a worker that ends is replaced.
        start_timeout: seconds a worker has to become ready.
        drain_timeout: seconds a draining worker has to end.
        pause_max: the longest pause in seconds before a slot is filled again.
        generation: the number of the workers that it starts.
    """

    workers: int
    respawn: bool
    start_timeout: float
    drain_timeout: float
    pause_max: float
    generation: int = 0


@dataclass(frozen=True, slots=True)
class ForkWorker:
    """Start a worker in this slot; then call `forked` or `fork_failed`."""

    slot: int


@dataclass(frozen=True, slots=True)
class DrainWorker:
    """Tell a worker to drain until `deadline`."""

    pid: int
    deadline: float


@dataclass(frozen=True, slots=True)
class DumpWorker:
    """Have a worker print its stacks."""

    pid: int


@dataclass(frozen=True, slots=True)
class AbortWorker:
    """Send SIGABRT."""

    pid: int


@dataclass(frozen=True, slots=True)
class KillWorker:
    """Send SIGKILL, because of `cause`."""

    pid: int
    cause: str


@dataclass(frozen=True, slots=True)
class AllReady:
    """Tell that all slots of the generation are ready for the first time."""


@dataclass(frozen=True, slots=True)
class Finish:
    """End the supervisor; no worker is left."""

    code: ExitCode


Action = ForkWorker | DrainWorker | DumpWorker | AbortWorker | KillWorker | AllReady | Finish


class WorkerState(StrEnum):
    """Where a worker is in its life; the table in `pool` says how it gets there."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    ENDING = "ending"


@dataclass(slots=True)
class WorkerRecord:
    """One living worker.

    Attributes:
        slot: its slot.
        pid: its process id.
        born: when it was forked.
        state: where it is in its life.
        deadline: when its state must have been left, or None.
        generation: the generation that it belongs to.
        was_ready: whether it ever got ready.
        expected: whether it was asked to go.
        retiring: whether it serves only until its successor is ready.
        forced_end: what is still to be done to end it: the actions in order, each with the
            seconds to wait after it.
    """

    slot: int
    pid: int
    born: float
    state: WorkerState
    deadline: float | None
    generation: int = 0
    was_ready: bool = False
    expected: bool = False
    retiring: bool = False
    forced_end: tuple[tuple[Action, float], ...] = ()

    def is_late(self) -> bool:
        """Tell whether it was not ready in time, and is ended for that: nobody asked it to go."""
        return self.state is WorkerState.ENDING and not (self.was_ready or self.expected)

    def is_leaving(self) -> bool:
        """Tell whether it was asked to go, now or when its successor is ready."""
        return self.retiring or self.expected

    @property
    def id(self) -> WorkerId:
        """What others know it by: its slot, pid and generation."""
        return WorkerId(self.slot, self.pid, self.generation)
