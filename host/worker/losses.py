"""Bytes that a plugin has written and that cannot arrive: counted each time, told now and then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from host.interfaces import CloseReason, Listener
from host.ipc.scoreboard import CUT_ANSWERS, LOST_WRITES, Row
from host.telemetry.emitter import Telemetry
from host.telemetry.events import ANSWERS_CUT, WRITES_LOST

_TELL_AGAIN_SECONDS = 10.0


class _Told:
    """What happened since the log was last told.

    Attributes:
        silent_until: before that nothing is told, in seconds of the loop's clock.
        count, size: how often it happened since, and with how many bytes.
    """

    __slots__ = ("count", "silent_until", "size")

    def __init__(self) -> None:
        self.silent_until, self.count, self.size = 0.0, 0, 0


class Losses(Protocol):
    """What connections tell of bytes that cannot arrive.

    Connections are `Any` here, since their class knows this module.
    """

    def written_late(self, connection: Any, size: int) -> None:
        """Tell of a write of `size` bytes to a connection that is closed."""

    def cut(self, connection: Any, reason: CloseReason, size: int) -> None:
        """Tell that a connection is reset with `size` bytes unsent."""


class NoLosses:
    """Counts nothing and tells nobody: for connections of a test."""

    def written_late(self, connection: Any, size: int) -> None:
        """Do nothing."""

    def cut(self, connection: Any, reason: CloseReason, size: int) -> None:
        """Do nothing."""


class ListenerLosses:
    """Counts the losses of one listener's connections in one worker.

    A peer can bring them about as often as it likes. So the first is told at once, and those of the
    next seconds together with the first one after them.

    Args:
        listener: the listener.
        row: the worker's row of the scoreboard, where each is counted.
        now: tells the time.
        telemetry: told of them.
        slot: the worker's slot.
    """

    def __init__(
        self,
        listener: Listener,
        row: Row,
        now: Callable[[], float],
        telemetry: Telemetry,
        slot: int,
    ) -> None:
        self._listener, self._row, self._now = listener, row, now
        self._telemetry, self._slot = telemetry, slot
        self._late = _Told()
        self._cuts: dict[CloseReason, _Told] = {}

    def written_late(self, connection: Any, size: int) -> None:
        """Count a write to a connection that the host has closed, and tell of it."""
        listener = self._listener
        self._row.add(listener.index, LOST_WRITES)
        if self._is_due(self._late, size):
            self._telemetry.emit(
                WRITES_LOST,
                slot=self._slot,
                plugin=listener.plugin,
                connection=connection.id,
                count=self._late.count,
                bytes=self._late.size,
            )
            self._late.count = self._late.size = 0

    def cut(self, connection: Any, reason: CloseReason, size: int) -> None:
        """Count a connection that is reset with `size` bytes unsent, and tell of it."""
        listener = self._listener
        self._row.add(listener.index, CUT_ANSWERS)
        told = self._cuts.setdefault(reason, _Told())
        if self._is_due(told, size):
            self._telemetry.emit(
                ANSWERS_CUT,
                slot=self._slot,
                address=listener.address,
                connection=connection.id,
                count=told.count,
                bytes=told.size,
                reason=reason.value,
            )
            told.count = told.size = 0

    def _is_due(self, told: _Told, size: int) -> bool:
        told.count += 1
        told.size += size
        now = self._now()
        if now < told.silent_until:
            return False
        told.silent_until = now + _TELL_AGAIN_SECONDS
        return True
