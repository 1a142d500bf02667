"""The end of a host: accept for a while, close the listeners, have the workers drain."""

from __future__ import annotations

import math
from collections.abc import Callable

from host.net.quiesce import Gate
from host.runtime.loop import Loop
from host.settings import Lifecycle
from host.supervisor.generations import Generations
from host.telemetry.emitter import Telemetry
from host.telemetry.events import HOST_STOPPING, HOST_STOPPING_NOW


class Shutdown:
    """The one stop of a host, from the signal to the last worker.

    Args:
        generations: their listeners are closed.
        limits: how long connections are taken, and how long open ones have to finish.
        on_closed: called once when no connection waits any more and the listeners are closed,
            with the deadline by which the workers have to end.

    Attributes:
        begun: whether the host stops.
        deadline: when it has to have stopped, in seconds of the loop's clock.
    """

    def __init__(
        self,
        loop: Loop,
        telemetry: Telemetry,
        generations: Generations,
        limits: Lifecycle,
        *,
        on_closed: Callable[[float], object],
    ) -> None:
        self._loop, self._telemetry, self._generations = loop, telemetry, generations
        self._limits, self._on_closed = limits, on_closed
        self._gate: Gate | None = None
        self.begun = False
        self.deadline = math.inf

    def begin(self, cause: str, *, delayed: bool = False) -> None:
        """Stop without cutting anybody off; nothing happens if that is under way.

        Args:
            cause: why, for the log.
            delayed: whether connections are taken for `shutdown_delay_seconds` first.
        """
        if self.begun:
            return
        self.begun = True
        patience = self._limits.drain_timeout_seconds
        delay = self._limits.shutdown_delay_seconds if delayed else 0.0
        self.deadline = self._loop.now + delay + patience
        self._telemetry.emit(HOST_STOPPING, cause=cause, seconds=patience)
        if delay:
            self._loop.call_at(self._loop.now + delay, self._shut_gate)
        else:
            self._shut_gate()

    def hurry(self, cause: str) -> None:
        """Close the listeners now, whether or not a stop is under way."""
        self.begun, self.deadline = True, self._loop.now
        self._telemetry.emit(HOST_STOPPING_NOW, cause=cause)
        self._shut_gate()
        if self._gate is not None:
            self._gate.close()

    def _shut_gate(self) -> None:
        if self._gate is not None:
            return
        sockets = self._generations.stop_listening()
        quiet = self._generations.is_quiet
        self._gate = Gate(
            self._loop, sockets, self._limits.quiet_seconds, quiet=quiet, done=self._drain
        )
        # At least half of the time is left to the connections that are open.
        self._gate.shut(self._loop.now, (self.deadline - self._loop.now) / 2)

    def _drain(self) -> None:
        self._generations.handing_out.runner.stop()
        self._generations.close_groups()
        self._on_closed(self.deadline)
