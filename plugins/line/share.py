"""How long one connection may keep the loop to itself, by the clock."""

from __future__ import annotations

import time

TOGETHER = 16
"""How many lines are answered at most before anything else is looked at: the clock, or whether the
peer takes its replies."""
_SHARE_SECONDS = 0.001
_JUST_NOW_SECONDS = 0.001
"""How long ago a share was used up at most if that was in the same turn of the loop."""


class Share:
    """The share of a turn that a connection may use up. The clock is looked at every few lines.

    That is every `TOGETHER` lines, since a look costs as much as a short line does. If these take
    far too long it is every line, and then twice as many with each look that comes early.

    Attributes:
        clock: a monotonic clock, in seconds.
        began: when the share began; who begins one sets it.
        ended: when one was used up last; who has used it up sets it.
        lines: how many lines are to be answered before the next look: one, as long as nobody
            knows how slow they are.
    """

    __slots__ = ("began", "clock", "ended", "lines")

    def __init__(self) -> None:
        self.clock = time.monotonic
        self.began = self.ended = 0.0
        self.lines = 1

    def was_just_used_up(self) -> bool:
        """Tell whether another connection has used up its share a moment ago."""
        return self.clock() - self.ended < _JUST_NOW_SECONDS

    def is_used_up(self) -> bool:
        """Look at the clock; tell whether the others are to have their turn."""
        used = self.clock() - self.began
        if used < _SHARE_SECONDS / 2:
            self.lines = min(2 * self.lines, TOGETHER)
        elif used > 2 * _SHARE_SECONDS:
            self.lines = 1
        return used >= _SHARE_SECONDS
