"""What is counted if the host is shown (`ops.listen`): how connections end, how long turns take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from host.interfaces import CloseReason
from host.ipc.scoreboard import CLOSED, TURN_BUCKETS, TURN_LASTED, TURN_SUM, TURNS, Row, bucket_of

_PLACES = {reason: CLOSED + number for number, reason in enumerate(CloseReason)}


def counting_ends(
    on_end: Callable[[Any, CloseReason], None], row: Row, listener: int
) -> Callable[[Any, CloseReason], None]:
    """Return what counts the end of a listener's connection by its reason, then calls `on_end`."""
    cells = row.cells
    places = {reason: row.cell(listener, word) for reason, word in _PLACES.items()}

    def ended(connection: Any, reason: CloseReason) -> None:
        cells[places[reason]] += 1
        on_end(connection, reason)

    return ended


def counting_turns(
    end: Callable[[], object], row: Row, change: Callable[[], int]
) -> Callable[[], None]:
    """Return what ends a turn by `end`, which writes how long it has taken, and counts it.

    Args:
        end: ends a turn.
        row: where it is counted.
        change: called after the first turn, and then after as many more as it has returned.
    """
    cells, lasted, total = row.cells, row.index(TURN_LASTED), row.index(TURN_SUM)
    first, most = row.index(TURNS), TURN_BUCKETS - 1
    left = 1

    def end_turn() -> None:
        nonlocal left
        end()
        left -= 1
        if not left:
            left = change()
        nanoseconds = cells[lasted]
        cells[first + min(bucket_of(nanoseconds), most)] += 1
        cells[total] += nanoseconds

    return end_turn
