"""Writes down how each connection ends, in the last events of the worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from host.interfaces import CloseReason
from host.ipc.recent import REASONS, Kind

_CLOSED, _NUMBERS = int(Kind.CLOSED), {reason: number for number, reason in enumerate(REASONS)}


def noting_ends(
    on_end: Callable[[Any, CloseReason], None], note: Callable[..., None], listener: int
) -> Callable[[Any, CloseReason], None]:
    """Return what writes down the end of a listener's connection, then calls `on_end`."""

    def ended(connection: Any, reason: CloseReason) -> None:
        note(_CLOSED, connection.serial, listener, _NUMBERS[reason])
        on_end(connection, reason)

    return ended
