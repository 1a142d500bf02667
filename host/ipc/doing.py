"""What a worker does for a connection, as its plugin has said last, in a few words of its row.

A worker that hangs in C runs no Python any more, so that nobody can ask it. What it has written
before can be read all the same. There is room for one connection, the one that has said it last.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from host.ipc.scoreboard import DOING_WORDS, WORD, Row
from host.text import printable

_DOING = struct.Struct(f"=Q{DOING_WORDS * WORD - WORD}p")


class Doing(NamedTuple):
    """What is done for a connection.

    Attributes:
        serial: the connection's serial number; 0 for none.
        text: what is done for it, without control characters; "" for nothing.
    """

    serial: int
    text: str


NOTHING = Doing(0, "")


def noting(row: Row) -> Callable[[int, bytes], None]:
    """Return what writes it: given a serial number and a text, of which 119 bytes are kept."""
    cells: Any = row.cells
    return functools.partial(_DOING.pack_into, cells, row.doing_place)


def doing_of(row: Row) -> Doing:
    """Return it; a worker is not trusted: it may be rubbish."""
    cells: Any = row.cells
    serial, text = _DOING.unpack_from(cells, row.doing_place)
    return Doing(serial, printable(text.decode("utf-8", "replace")))
