"""Telemetry: code emits events, listeners to them do the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from host.telemetry.events import Event

ReportFailure = Callable[[str, str, BaseException, tuple[object, ...]], None]
"""How a plugin's failure is told: plugin, hook, error, the hook's arguments. It must not raise."""


class Record(NamedTuple):
    """One event that happened: when (seconds since the epoch) and with which values."""

    event: Event
    time: float
    fields: dict[str, Any]


class Telemetry:
    """Hands every event to all who listen.

    Args:
        listeners: called in order with each record; they must neither block nor raise.
        debug: whether anyone wants events that are emitted per connection.
    """

    def __init__(self, *listeners: Callable[[Record], None], debug: bool = False) -> None:
        self._listeners = list(listeners)
        self.debug = debug

    def listen(self, listener: Callable[[Record], None]) -> None:
        """Add a listener."""
        self._listeners.append(listener)

    def emit(self, event: Event, **fields: Any) -> None:
        """Tell that `event` happened; `fields` are exactly those of the table."""
        assert fields.keys() == event.fields, (event.name, sorted(fields), sorted(event.fields))
        record = Record(event, time.time(), fields)
        for listener in self._listeners:
            listener(record)
