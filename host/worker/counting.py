"""What is counted if the host is shown (`ops.listen`): ends, bytes at once, and turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, TypeVarTuple

from host.interfaces import CloseReason
from host.ipc.scoreboard import (
    BYTES_IN,
    BYTES_OUT,
    CLOSED,
    COUNTED_ELSEWHERE,
    CURRENT_CALL,
    TURN_BUCKETS,
    TURN_LASTED,
    TURN_SUM,
    TURNS,
    Row,
    bucket_of,
)
from host.worker.context import ListenerContext

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")
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


def counting_bytes(row: Row, context: ListenerContext) -> ListenerContext:
    """Return a context whose connections count each byte at once, in the words of their listener.

    So a worker that is killed takes nothing with it, but for what a call of read(2) or write(2) had
    just done. The sums that connections keep for their access lines are counted nowhere else then.
    """
    listener = context.listener.index
    into, out = row.cell(listener, BYTES_IN), row.cell(listener, BYTES_OUT)
    return replace(
        context,
        read=_counting(context.read, row, into, len),
        read_into=_counting(context.read_into, row, into),
        write=_counting(context.write, row, out),
        write_pieces=_counting(context.write_pieces, row, out),
        send_file=_counting(context.send_file, row, out),
        bytes_in_cell=COUNTED_ELSEWHERE,
        bytes_out_cell=COUNTED_ELSEWHERE,
    )


def _counting(
    call: Callable[[*_Arguments], _Result],
    row: Row,
    cell: int,
    size_of: Callable[[_Result], int] = int,  # type: ignore[assignment]  # the result is the size
) -> Callable[[*_Arguments], _Result]:
    """Return what does the same and adds the size of the result to a cell."""
    cells = row.cells

    def counted(*arguments: *_Arguments) -> _Result:
        result = call(*arguments)
        cells[cell] += size_of(result)
        return result

    return counted


def counting_turns(
    end: Callable[[], object],
    row: Row,
    change: Callable[[], int],
    slow_seconds: float,
    note_slow: Callable[[int], object],
) -> Callable[[], None]:
    """Return what ends a turn by `end`, which writes how long it has taken, and counts it.

    Args:
        end: ends a turn.
        row: where it is counted.
        change: called after the first turn, and then after as many more as it has returned.
        slow_seconds: how long a turn may take.
        note_slow: told of one that has taken longer: what was called last, or 0 if it was `end`
            that has taken most of the time, whatever that has called.
    """
    cells, lasted, total = row.cells, row.index(TURN_LASTED), row.index(TURN_SUM)
    called, slow = row.index(CURRENT_CALL), int(slow_seconds * 1e9)
    clock = time.monotonic
    first, most = row.index(TURNS), TURN_BUCKETS - 1
    left = 1

    def end_turn() -> None:
        nonlocal left
        word, ending = cells[called], clock()
        end()
        left -= 1
        if not left:
            left = change()
        nanoseconds = cells[lasted]
        cells[first + min(bucket_of(nanoseconds), most)] += 1
        cells[total] += nanoseconds
        if nanoseconds > slow:
            note_slow(word if (clock() - ending) * 2e9 < nanoseconds else 0)

    return end_turn
