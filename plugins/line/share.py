"""How long one connection may keep the loop to itself, by the clock."""

from __future__ import annotations

import time
from typing import Protocol

TOGETHER = 16
"""How many lines are answered at most before anything else is looked at: the clock, or whether the
peer takes its replies."""
_SHARE_SECONDS = 0.001
_FAR_OVER_SECONDS = 0.05
_CAREFUL_LOOKS = 256
"""How many looks come after each line of a connection of which some took that long."""
_JUST_NOW_SECONDS = 0.001
"""How long ago a share was used up at most if that was in the same turn of the loop."""


class Paced(Protocol):
    """A connection whose lines are answered a few at a time.

    Attributes:
        at_once: how many are answered before the next look at the clock: one, as long as nobody
            knows how slow they are.
        careful: how many looks come before there may be more of them.
    """

    at_once: int
    careful: int


class Share:
    """The share of a turn that a connection may use up. The clock is looked at every few lines.

    That is every `TOGETHER` lines, since a look costs a quarter of what a short line does. If they
    take too long it is every line, and then twice as many with each look that comes early. Each
    connection has its own number of them: others may send lines of another kind. Lines that are far
    too slow are seen after up to `TOGETHER` of them, if as many fast ones came before; so it takes
    the connection long to be trusted again.

    Attributes:
        clock: a monotonic clock, in seconds.
        began: when the share began; who begins one sets it.
        ended: when one was used up last; who has used it up sets it.
    """

    __slots__ = ("began", "clock", "ended")

    def __init__(self) -> None:
        self.clock = time.monotonic
        self.began = self.ended = 0.0

    def was_just_used_up(self) -> bool:
        """Tell whether another connection has used up its share a moment ago."""
        return self.clock() - self.ended < _JUST_NOW_SECONDS

    def is_used_up(self, paced: Paced) -> bool:
        """Look at the clock; tell whether the others are to have their turn."""
        used = self.clock() - self.began
        if used < _SHARE_SECONDS / 2:
            if paced.careful:
                paced.careful -= 1
            elif paced.at_once < TOGETHER:
                paced.at_once *= 2
        elif used > 2 * _SHARE_SECONDS:
            paced.at_once = 1
            if used >= _FAR_OVER_SECONDS:
                paced.careful = _CAREFUL_LOOKS
        return used >= _SHARE_SECONDS
