"""Counts each datagram at once, if the host is shown (`ops.listen`)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from host.ipc.scoreboard import (
    BYTES_IN,
    BYTES_OUT,
    COUNTED_ELSEWHERE,
    DATAGRAMS,
    DROPPED_REPLIES,
    REFUSED_REPLIES,
    REPLIES,
    SENDING,
    Row,
)
from host.worker.datagrams import Address, Datagram, DatagramCells, Receive, Send


class DatagramCounts:
    """Counts what one listener receives and sends in the words of a row, with each datagram.

    So a worker that is killed takes nothing with it: a datagram is counted before its plugin sees
    it, and a reply that a client has seen is counted, too. What is being sent is written down
    before, since sendto(2) may deliver it and never return: then it is counted by who writes off
    the row (`Row.write_off`). Only the bytes of that one reply may be missing.

    Args:
        row: where it is counted.
        listener: the number of the listener.
    """

    def __init__(self, row: Row, listener: int) -> None:
        self._row, self._listener = row, listener

    @property
    def cells(self) -> DatagramCells:
        """Where the sums that the datagrams keep may go: nobody reads them."""
        return DatagramCells(*[COUNTED_ELSEWHERE] * 6)

    def receiving(self, receive: Receive) -> Receive:
        """Return what receives as `receive` does, and counts it."""
        cells = self._row.cells
        datagrams, bytes_in = self._cell(DATAGRAMS), self._cell(BYTES_IN)

        def counted(size: int) -> tuple[bytes, Address]:
            received = receive(size)
            cells[datagrams] += 1
            cells[bytes_in] += len(received[0])
            return received

        return counted

    def sending(self, send: Send) -> Send:
        """Return what sends as `send` does, and counts it, or that the kernel did not take it."""
        cells = self._row.cells
        replies, sending = self._cell(REPLIES), self._cell(SENDING)
        bytes_out, dropped = self._cell(BYTES_OUT), self._cell(DROPPED_REPLIES)

        def counted(data: Any, address: Address) -> int:
            cells[sending] = cells[replies] + 1
            try:
                size = send(data, address)
            except BaseException as error:
                cells[sending] = 0
                if isinstance(error, OSError) and error.errno != errno.EMSGSIZE:
                    cells[dropped] += 1  # but for what no datagram can be, which is a ValueError
                raise
            cells[replies] = cells[sending]
            cells[bytes_out] += size
            return size

        return counted

    def refusing(self, tell: Callable[[Datagram, int], object]) -> Callable[[Datagram, int], None]:
        """Return what counts a reply that is larger than it may be, and tells of it."""
        cells, refused = self._row.cells, self._cell(REFUSED_REPLIES)

        def counted(datagram: Datagram, size: int) -> None:
            cells[refused] += 1
            tell(datagram, size)

        return counted

    def _cell(self, word: int) -> int:
        return self._row.cell(self._listener, word)
