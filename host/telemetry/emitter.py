"""Telemetry: code emits events, their subscribers do the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from host.telemetry.events import Event, Level

ReportFailure = Callable[[str, str, BaseException, tuple[object, ...]], None]
"""How a plugin's failure is told: plugin, hook, error, the hook's arguments. It must not raise."""


class Record(NamedTuple):
    """One event that happened: when (seconds since the epoch) and with which values."""

    event: Event
    time: float
    fields: dict[str, Any]


class Telemetry:
    """Hands every event to all subscribers.

    Args:
        subscribers: called in order with each record; they must neither block nor raise.

    Attributes:
        served: returns the connection that code runs for just now; None if it runs for none, or in
            a thread of which nobody knows. It may be called in any thread.
    """

    def __init__(self, *subscribers: Callable[[Record], None]) -> None:
        self._subscribers = subscribers
        self.served: Callable[[], object] = lambda: None

    def subscribe(self, subscriber: Callable[[Record], None]) -> None:
        """Tell another one from now on, in this process and its forks."""
        self._subscribers = (*self._subscribers, subscriber)

    def unsubscribe(self, subscriber: Callable[[Record], None]) -> None:
        """Tell it nothing any more."""
        self._subscribers = tuple(each for each in self._subscribers if each != subscriber)

    def silence(self) -> None:
        """Tell nobody any more: this is a process that a plugin has forked."""
        self._subscribers = ()

    def emit(self, event: Event, **fields: Any) -> None:
        """Tell that `event` happened; `fields` are exactly those of the table."""
        assert fields.keys() == event.fields, (event.name, sorted(fields), sorted(event.fields))
        self._tell(event, fields)

    def emit_at(self, level: Level, event: Event, **fields: Any) -> None:
        """Tell that `event` happened, which matters as much as `level` says this time."""
        assert fields.keys() == event.fields, (event.name, sorted(fields), sorted(event.fields))
        self._tell(event._replace(level=level), fields)

    def _tell(self, event: Event, fields: dict[str, Any]) -> None:
        record = Record(event, time.time(), fields)
        for subscriber in self._subscribers:
            subscriber(record)
