"""What is done for a connection just now, as its plugin says it."""

from __future__ import annotations

from host.ipc.current_call import serial_of
from host.worker.later import LaterPart

_MAX_CHARACTERS = 100


class DoingPart(LaterPart):
    """What a plugin says of its connection, for those who look at it while it is open.

    The attributes are not set before a plugin says something: a connection of which nothing is said
    takes no instruction for it.
    """

    __slots__ = ("_doing", "_doing_since")

    _doing: str
    _doing_since: float  # in seconds of the loop's clock

    @property
    def doing(self) -> str:
        """What is done for the peer just now; "" for nothing."""
        return getattr(self, "_doing", "")

    @doing.setter
    def doing(self, text: str) -> None:
        context = self._context
        self._doing = text = text[:_MAX_CHARACTERS]
        self._doing_since = context.loop.now
        context.note_doing(serial_of(self._call_word), text.encode("utf-8", "backslashreplace"))

    @property
    def doing_since(self) -> float:
        """Since when that is done, in seconds of the loop's clock; without anything since ever."""
        return getattr(self, "_doing_since", 0.0)
