"""The current peer: whose datagram a worker handles, in a few words of its row of the scoreboard.

A connection has an id by which it can be found in the log. A datagram has none, so its sender is
written before the hook is called, as what is called is (host.ipc.current_call).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from host.ipc.scoreboard import PEER, WORD, Row

_PEER = struct.Struct("=45pH")

put_peer: Callable[[Any, int, bytes, int], None] = _PEER.pack_into
"""Writes it: into the scoreboard's cells, at the place that `place_of` tells, the host as bytes
and the port."""


def place_of(row: Row) -> int:
    """Return where it is, in bytes from the beginning of the scoreboard's cells."""
    return row.index(PEER) * WORD


def peer_of(row: Row) -> tuple[str, int]:
    """Return host and port; a worker is not trusted: it may be rubbish."""
    cells: Any = row.cells
    host, port = _PEER.unpack_from(cells, place_of(row))
    return host.decode("ascii", "replace"), port
