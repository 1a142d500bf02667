"""The current call: which hook of which connection a worker is in, as one word of the scoreboard.

A worker writes it before it calls a plugin, so that what it was at can be told after it has died or
while it hangs, when it cannot tell any more.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

_SERIAL_SHIFT, _LISTENER_SHIFT = 24, 8


class CallKind(IntEnum):
    """What a worker is calling; 0 stands for nothing."""

    ON_READABLE = 1
    ON_ACCEPT = 2
    ON_CLOSE = 3
    ON_DRAIN = 4
    ON_WORKER_START = 5
    ON_WORKER_STOP = 6
    CALLBACK = 7

    @property
    def hook(self) -> str:
        """The hook's name; a timer, a call from a thread and the bus call back without one."""
        return "a callback" if self is CallKind.CALLBACK else self.name.lower()


class CurrentCall(NamedTuple):
    """A mark taken apart: what is called, and for a connection its serial number and listener."""

    called: CallKind
    serial: int
    listener: int


def pack_call(called: int, serial: int = 0, listener: int = 0) -> int:
    """Return the word; a serial number of 0 stands for no connection."""
    return serial << _SERIAL_SHIFT | listener << _LISTENER_SHIFT | called


def serial_of(word: int) -> int:
    """Return the serial number in a mark."""
    return word >> _SERIAL_SHIFT


def unpack_call(word: int) -> CurrentCall | None:
    """Take a word apart; None if nothing is called. A worker is not trusted: it may be rubbish."""
    try:
        called = CallKind(word & 0xFF)
    except ValueError:
        return None
    return CurrentCall(called, serial_of(word), word >> _LISTENER_SHIFT & 0xFFFF)
