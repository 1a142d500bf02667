"""Fill-first: keep connections in as few workers as possible."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from host import Counter, Host, WorkerView, hookimpl


class Options(BaseModel):
    """The section `[options.fill_first]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    connections: int = Field(
        default=100,
        ge=1,
        description="How many connections a worker gets before the next one is used. Too many, and"
        " one worker is busy while others have nothing to do.",
    )


class FillFirst:
    """Take the lowest slot that has room; once all are full leave the choice to others."""

    def __init__(self, options: Options) -> None:
        self._connections = options.connections
        self._overflows: Counter | None = None

    @hookimpl
    def on_host_start(self, host: Host) -> None:
        """Declare what is counted; a host that is told to use this later does not call it."""
        self._overflows = host.metrics.counter("overflows", "Connections that found no room.")

    @hookimpl
    def choose_worker(self, workers: Sequence[WorkerView]) -> WorkerView | None:
        """Return the first worker with room, or None."""
        for worker in workers:
            if worker.active + worker.outstanding < self._connections:
                return worker
        if self._overflows is not None:
            self._overflows.add()
        return None
