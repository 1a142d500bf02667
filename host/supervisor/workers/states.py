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


class _Action:
    """Something to do; the same as another of its class with the same values.

    Written out: named tuples of two classes would be equal, and seven frozen dataclasses would take
    7 ms of each start.
    """

    __slots__: tuple[str, ...] = ()

    def _values(self) -> list[object]:
        return [getattr(self, name) for name in self.__slots__]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._values() == self._values()

    def __hash__(self) -> int:
        return hash((type(self), *self._values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._values()))})"


class ForkWorker(_Action):
    """Start a worker in this slot; then call `forked` or `fork_failed`."""

    __slots__ = __match_args__ = ("slot",)

    def __init__(self, slot: int) -> None:
        self.slot = slot


class DrainWorker(_Action):
    """Tell a worker to drain until `deadline`."""

    __slots__ = __match_args__ = ("pid", "deadline")

    def __init__(self, pid: int, deadline: float) -> None:
        self.pid, self.deadline = pid, deadline


class DumpWorker(_Action):
    """Have a worker print its stacks."""

    __slots__ = __match_args__ = ("pid",)

    def __init__(self, pid: int) -> None:
        self.pid = pid


class AbortWorker(_Action):
    """Send SIGABRT."""

    __slots__ = __match_args__ = ("pid",)

    def __init__(self, pid: int) -> None:
        self.pid = pid


class KillWorker(_Action):
    """Send SIGKILL, because of `cause`."""

    __slots__ = __match_args__ = ("pid", "cause")

    def __init__(self, pid: int, cause: str) -> None:
        self.pid, self.cause = pid, cause


class AllReady(_Action):
    """Tell that all slots of the generation are ready for the first time."""

    __slots__ = ()


class Finish(_Action):
    """End the supervisor; no worker is left."""

    __slots__ = __match_args__ = ("code",)

    def __init__(self, code: ExitCode) -> None:
        self.code = code


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
