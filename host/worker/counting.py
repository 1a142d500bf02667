"""What is counted if the host is shown (`ops.listen`): ends, bytes at once, and turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from host.interfaces import CloseReason
from host.ipc.scoreboard import (
    BYTES_IN,
    BYTES_OUT,
    CLOSED,
    COUNTED_ELSEWHERE,
    TURN_BUCKETS,
    TURN_LASTED,
    TURN_SUM,
    TURNS,
    Row,
    bucket_of,
)
from host.worker.context import Buffers, ListenerContext

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
    cells, listener = row.cells, context.listener.index
    into, out = row.cell(listener, BYTES_IN), row.cell(listener, BYTES_OUT)
    read, read_into, write = context.read, context.read_into, context.write
    write_pieces, send_file = context.write_pieces, context.send_file

    def counted_read(fd: int, size: int) -> bytes:
        data = read(fd, size)
        cells[into] += len(data)
        return data

    def counted_read_into(fd: int, buffers: Buffers) -> int:
        size = read_into(fd, buffers)
        cells[into] += size
        return size

    def counted_write(fd: int, data: bytes) -> int:
        size = write(fd, data)
        cells[out] += size
        return size

    def counted_pieces(fd: int, pieces: Sequence[memoryview]) -> int:
        size = write_pieces(fd, pieces)
        cells[out] += size
        return size

    def counted_file(fd: int, file: int, offset: int, count: int) -> int:
        size = send_file(fd, file, offset, count)
        cells[out] += size
        return size

    return replace(
        context,
        read=counted_read,
        read_into=counted_read_into,
        write=counted_write,
        write_pieces=counted_pieces,
        send_file=counted_file,
        bytes_in_cell=COUNTED_ELSEWHERE,
        bytes_out_cell=COUNTED_ELSEWHERE,
    )


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
