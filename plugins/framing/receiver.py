"""Takes the frames of a connection, in turn with those of others, and not while it is held."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from host import Connection
from host.plugins.framing.base import Framer, FrameSyntaxError, FrameTooLongError

FrameError = FrameSyntaxError | FrameTooLongError
"""What is wrong with what a peer has sent."""

_SHARE = 100
"""How many frames are taken before others have their turn: about 1 ms."""
_SHARE_SECONDS = 0.001
"""How long slow ones are taken: 100 that wait for something would be taken for one that hangs."""
_MOST_UNTIMED = 8
"""How many are taken at most before the clock is looked at again, which costs half as much as one:
so many that are slow may follow fast ones."""


class Receiver:
    """Has the frames of one connection handled in their order.

        def on_accept(connection):
            framer = LengthFramer()
            connection.data = Receiver(connection, framer, handle, lambda error: connection.close())

        def on_readable(connection):
            connection.data.feed(connection.read())

    Whoever has to wait for something before the next frame may be handled holds the connection:
    nothing is read from it until it is released as often, and what has come already waits in the
    framer. So answers keep their order though nothing blocks.

    It uses `Connection.call_next_turn`, which is for one function at a time: leave that to it.

    Args:
        connection: the connection.
        framer: cuts what arrives.
        handle: called with each frame.
        on_error: called with FrameSyntaxError or FrameTooLongError of the framer or of `handle`;
            it is to close the connection.
        share: how many frames are taken in one turn of the loop at most.
        clock: a monotonic clock, in seconds.

    Attributes:
        idle_seconds: the connection is closed with the reason `TIMEOUT` when nothing has come from
            it for so long, which is set by `Connection.expire`. The time begins with what comes
            first, and does not run while it is held. None to leave that to the plugin.
    """

    __slots__ = (
        "_clock",
        "_connection",
        "_framer",
        "_handle",
        "_holds",
        "_on_error",
        "_share",
        "idle_seconds",
    )

    def __init__(
        self,
        connection: Connection,
        framer: Framer,
        handle: Callable[[bytes], object],
        on_error: Callable[[FrameError], object],
        share: int = _SHARE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection, self._framer, self._share = connection, framer, share
        self._handle, self._on_error = handle, on_error
        self._clock, self._holds = clock, 0
        self.idle_seconds: float | None = None

    def feed(self, data: bytes = b"") -> None:
        """Take in what has arrived, and have as much of it handled as may be now.

        The clock is looked at after the first frame, if there are more, and then the more seldom
        the more fast ones there were.
        """
        connection, framer, left = self._connection, self._framer, self._share
        look, until = left - 1, math.inf
        handle = self._handle
        frames = framer.feed(data)
        if self._holds:  # since it was released
            return
        try:
            for frame in frames:
                handle(frame)
                if self._holds or connection.closed:
                    return
                left -= 1
                if left == look and framer.waiting:
                    now = self._clock()
                    if not left or now >= until:
                        connection.call_next_turn(lambda _: self.feed())
                        return
                    if until == math.inf:
                        until = now + _SHARE_SECONDS
                    taken = self._share - left  # builtins that compare cost as much as the clock
                    more = taken if taken < _MOST_UNTIMED else _MOST_UNTIMED
                    look = left - more if more < left else 0
        except (FrameSyntaxError, FrameTooLongError) as error:
            self._on_error(error)
        if self.idle_seconds is not None:
            connection.expire(self.idle_seconds)

    def hold(self) -> None:
        """Let frames wait until `release` has been called as often.

        As long as it is held, it is not noticed either that the peer has gone.
        """
        self._holds += 1
        if self._holds == 1:
            self._connection.pause_reading()
            if self.idle_seconds is not None:
                self._connection.expire(None)

    def release(self) -> None:
        """Have frames taken again, in the next turn of the loop, unless it is held otherwise."""
        self._holds -= 1
        if not self._holds and not self._connection.closed:
            self._connection.resume_reading()
            self._connection.call_next_turn(lambda _: self.feed())

    def end(self) -> None:
        """Forget what has come and was not handled, and whom to call, for `on_close`.

        A connection, its receiver and what handles frames mostly know each other, so only the
        garbage collector would free them. It counts objects, not bytes: long messages that were
        never whole would stay for long.
        """
        self._framer.take()
        self._handle = self._on_error = _nobody


def _nobody(_: object) -> None:
    """Stand in for what handled frames, and errors."""
