"""The current call: which hook of which connection a worker is in, as one word of the scoreboard.

A worker writes it before it calls a plugin, so that what it was at can be told after it has died or
while it hangs, when it cannot tell any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import NamedTuple, NewType

from host.hookspecs import ROWS, TABLE

_SERIAL_SHIFT, _LISTENER_SHIFT = 24, 8
SERIAL_UNIT = 1 << _SERIAL_SHIFT
"""What each serial number adds to a word."""
KIND_MASK = -1 << _LISTENER_SHIFT
"""What a word has of its connection: all but what is called."""
_CALLBACK_WORDS = 251
"""A prime number: who looks at regular times does not see the same word though calls go on."""

CallKind = NewType("CallKind", int)
"""What a worker is calling: a hook, by its number in the table of hooks, `CALLBACK` or `TASK`."""

CALLBACK = CallKind(7)
"""A timer, a call from a thread or the bus calls back: a plugin's function that is no hook."""

TASK = CallKind(9)
"""Callbacks and tasks of asyncio."""

_NAMES = {CallKind(row.call_number): row.name for row in TABLE if row.call_number is not None}
_NAMES[CALLBACK] = "a callback"
_NAMES[TASK] = "a task of asyncio"
KINDS = frozenset(_NAMES)


def kind_of(hook: Callable[..., object]) -> CallKind:
    """Return the kind of a call of `hook`, a specification of a hook that a worker calls."""
    number = ROWS[hook.__name__].call_number
    assert number is not None, f"{hook.__name__} is a hook of the supervisor"
    return CallKind(number)


class CurrentCall(NamedTuple):
    """A word taken apart: what is called, and for a connection its serial number and listener."""

    called: CallKind
    serial: int
    listener: int

    @property
    def hook(self) -> str:
        """The hook's name, or what is called instead of a hook."""
        return _NAMES[self.called]


def pack_call(called: CallKind, serial: int = 0, listener: int = 0) -> int:
    """Return the word; a serial number of 0 stands for no connection."""
    return serial << _SERIAL_SHIFT | listener << _LISTENER_SHIFT | called


def callback_words() -> Iterator[int]:
    """Return the word for each callback in turn, without end: one differs from the next.

    Callbacks belong to no listener; its place in the word has a number that tells them apart.
    """
    return cycle([pack_call(CALLBACK, listener=number) for number in range(_CALLBACK_WORDS)])


def serial_of(word: int) -> int:
    """Return the serial number in a word."""
    return word >> _SERIAL_SHIFT


def unpack_call(word: int) -> CurrentCall | None:
    """Take a word apart; None if nothing is called. A worker is not trusted: it may be rubbish."""
    called = CallKind(word & 0xFF)
    if called not in KINDS:
        return None
    return CurrentCall(called, serial_of(word), word >> _LISTENER_SHIFT & 0xFFFF)
