"""The end of a host: accept for a while, shut the gate, have the workers drain."""

from __future__ import annotations

from typing import Protocol

from host.net.quiesce import Gate
from host.runtime.loop import Loop
from host.supervisor.generations import Generation
from host.telemetry.emitter import Telemetry
from host.telemetry.events import HOST_STOPPING


class Stoppable(Protocol):
    """What the end needs of the supervisor."""

    loop: Loop
    telemetry: Telemetry
    serving: Generation
    coming: Generation | None

    def drain_all(self, deadline: float) -> None:
        """Have all workers drain: the listeners are closed."""


class Shutdown:
    """One stop, from the signal to the last worker.

    Args:
        host: the supervisor.
        patience: seconds that open connections have to finish.
        delay: seconds for which connections are taken before that.

    Attributes:
        deadline: when the host has to have stopped, in seconds of the loop's clock.
    """

    def __init__(self, host: Stoppable, patience: float, delay: float) -> None:
        self._host, self._patience, self._delay = host, patience, delay
        self._gate: Gate | None = None
        self.deadline = host.loop.now + delay + patience

    def begin(self, cause: str) -> None:
        """Stop: at once, or after the delay."""
        host = self._host
        host.telemetry.emit(HOST_STOPPING, cause=cause, seconds=self._patience)
        if self._delay:
            host.loop.call_at(host.loop.now + self._delay, self._shut_gate)
        else:
            self._shut_gate()

    def hurry(self) -> None:
        """Close the listeners now."""
        self.deadline = self._host.loop.now
        self._shut_gate()
        if self._gate is not None:
            self._gate.close()

    def _shut_gate(self) -> None:
        host = self._host
        if self._gate is not None or host.serving.passes is None:
            return
        generations = [host.serving, *([host.coming] if host.coming else [])]
        for generation in generations:
            generation.scoreboard.gate_shut = True
        sockets = [listener for generation in generations for listener in generation.sockets]
        self._gate = Gate(host.loop, sockets, quiet=host.serving.passes.quiet, done=self._drain)
        self._gate.shut(host.loop.now, self.deadline - host.loop.now)

    def _drain(self) -> None:
        if self._host.serving.passes is not None:
            self._host.serving.passes.stop()
        self._host.drain_all(self.deadline)
