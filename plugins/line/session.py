"""What the line protocol keeps of a connection, and the part of it that is for other plugins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from host import Connection
from host.plugins.framing import LineFramer

RawHandler = Callable[[Connection, bytes], object]

_PIECE_BYTES = 4096
"""How much a raw handler without a count is given at a time. One that needs little of it gives back
the rest, which is copied, and must not be a whole read each time."""


class Session(Protocol):
    """A connection of the line protocol, as a plugin that answers lines sees it."""

    data: Any
    """The state of the plugin that answers lines; None until it sets it."""

    def raw(self, handler: RawHandler, count: int | None = None) -> None:
        """Hand what comes next to `handler(connection, data)`, as it comes, and not as lines.

        Args:
            handler: called with each piece; never with `b""`.
            count: after how many bytes, at least 1, lines go on by themselves; None: when `lines`
                is called.
        """

    def block(self, count: int, handler: RawHandler) -> None:
        """Collect the next `count` bytes, at least 1; then call `handler(connection, block)` once.

        Limit `count` first: the block is kept in memory until it is complete.
        """

    def lines(self, rest: bytes = b"") -> None:
        """Go back to lines; `rest` is what a raw handler was given beyond its own data."""


class Array:
    """A request that comes as an array of words.

    Attributes:
        missing: how many words have not come yet.
        room: how many bytes these may have, with one for each space between words.
        words: those that have come.
    """

    __slots__ = ("missing", "room", "words")

    def __init__(self, missing: int, room: int) -> None:
        self.missing, self.room = missing, room
        self.words: list[bytes] = []


class State:
    """All that the line protocol keeps of a connection; the `Session` of other plugins.

    Args:
        max_line_bytes: the longest line, without its end.

    Attributes:
        framer: cuts the lines.
        handler: is given what comes next instead of lines; None while there are lines.
        missing: how many bytes it is still to be given; None: no limit.
        array: the array of words that is coming; None for none.
        ending: whether the connection is closed as soon as all lines are answered.
        between: whether the next byte begins a request: nothing of an earlier one waits.
        at_once, careful: how many lines are answered at a time (see `Share`).
    """

    __slots__ = (
        "array",
        "at_once",
        "between",
        "careful",
        "data",
        "ending",
        "framer",
        "handler",
        "missing",
    )

    def __init__(self, max_line_bytes: int) -> None:
        self.framer = LineFramer(max_line_bytes)
        self.handler: RawHandler | None = None
        self.missing: int | None = None
        self.array: Array | None = None
        self.data: Any = None
        self.ending = False
        self.between = True
        self.at_once, self.careful = 1, 0

    def raw(self, handler: RawHandler, count: int | None = None) -> None:
        """Hand what comes next to `handler`, all of it or `count` bytes."""
        if count is not None and count < 1:
            raise ValueError(f"count must be at least 1, not {count}")
        self.handler, self.missing = handler, count
        self.between = False

    def block(self, count: int, handler: RawHandler) -> None:
        """Collect the next `count` bytes; then call `handler` with them."""
        block = bytearray()

        def collect(connection: Connection, data: bytes) -> None:
            block.extend(data)
            if len(block) == count:
                handler(connection, bytes(block))

        self.raw(collect, count)

    def lines(self, rest: bytes = b"") -> None:
        """Go back to lines, beginning with `rest`."""
        self.handler = self.missing = None
        self.framer.unread(rest)

    def hand_out_raw(self, connection: Connection) -> bool:
        """Give the raw handler what waits for it; False if there is nothing."""
        handler, missing = self.handler, self.missing
        piece = self.framer.take(_PIECE_BYTES if missing is None else missing)
        if handler is None or not piece:
            return False
        if missing is not None:
            self.missing = missing - len(piece)
            if self.missing == 0:
                self.handler = self.missing = None
        handler(connection, piece)
        return True


def session(connection: Connection) -> Session:
    """Return the session of one of the line protocol's connections."""
    found: State = connection.data
    return found
