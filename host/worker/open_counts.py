"""Counts the open connections of listeners that have a number of places (`max_connections`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from host.ipc.scoreboard import Cells
from host.runtime import streams


def counting_accept(accept: Callable[[], Any], cells: Cells, cell: int) -> Callable[[], Any]:
    """Return what accepts a connection and counts it, before the claim is settled.

    Args:
        accept: returns a descriptor and an address.
        cells: the scoreboard's cells.
        cell: which of them counts the open connections of the listener.
    """

    def accept_and_count() -> Any:
        fd, address = accept()
        if fd <= 2:  # a plugin has closed a standard stream; it may fail, so it comes first
            fd = streams.move_away(fd)
        cells[cell] += 1
        return fd, address

    return accept_and_count


def counting_close(close: Callable[[int], None], cells: Cells, cell: int) -> Callable[[int], None]:
    """Return what closes a descriptor and counts one connection less.

    Args:
        close: closes it.
        cells: the scoreboard's cells.
        cell: which of them counts the open connections of the listener.
    """

    def close_and_count(fd: int) -> None:
        close(fd)
        cells[cell] -= 1

    return close_and_count
