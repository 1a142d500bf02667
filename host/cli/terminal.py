"""What happens at a terminal: keys, another size, and signals; none of them amid a drawing."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import sys
import termios
import tty
from contextlib import ExitStack, suppress
from types import FrameType
from typing import Self

QUIT, STOP, RESIZED, ANSWERED = "quit", "stop", "resized", "answered"
"""What can happen besides keys: somebody wants it to end, or to stop for a while (Ctrl-Z); the
terminal has another size; or there is an answer."""
_SIGNALS = {
    signal.SIGINT: QUIT,
    signal.SIGTERM: QUIT,
    signal.SIGHUP: QUIT,
    signal.SIGTSTP: STOP,
    signal.SIGWINCH: RESIZED,
}
_BY_BYTE = {name[0].encode(): name for name in (QUIT, STOP, RESIZED, ANSWERED)}
_KEY = re.compile(r"\x1b(?:\[[0-9;?]*[@-~]|O.|.)?|.", re.DOTALL)
"""One key: a character, or a control sequence (ECMA-48, 5.4), whose letters are no keys."""
_KEYS = {
    "q": QUIT,
    "\x1b[A": "up",
    "\x1bOA": "up",
    "\x1b[B": "down",
    "\x1bOB": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1b[H": "home",
    "\x1bOH": "home",
    "\x1b[1~": "home",
}
_READ_BYTES = 1024


def keys(typed: str) -> list[str]:
    """Return the keys in what was typed: a name, or a character in lower case."""
    found = (key.lower() if len(key) == 1 else key for key in _KEY.findall(typed))
    return [_KEYS.get(key, key) for key in found]


class Terminal:
    """Takes keys as they are pressed, and signals, while it is entered.

    A signal is a word like a key: its handler writes a byte and does nothing else, so that what
    draws is never interrupted. One that is ignored (nohup(1)) stays ignored.

    Attributes:
        ended_by: the signal that is to end the process when the terminal is as it was before; not
            SIGINT, which is as good as a key.
    """

    def __init__(self) -> None:
        self.ended_by: signal.Signals | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._here, self._there = socket.socketpair()
            for end in (self._here, self._there):
                stack.enter_context(end)
                end.setblocking(False)
            self._typed = sys.stdin.fileno() if sys.stdin.isatty() else None
            if self._typed is not None:
                before = termios.tcgetattr(self._typed)
                stack.callback(termios.tcsetattr, self._typed, termios.TCSADRAIN, before)
                tty.setcbreak(self._typed)
            for number in _SIGNALS:
                handler = signal.getsignal(number)
                if handler not in (signal.SIG_IGN, None):
                    stack.callback(signal.signal, number, handler)
                    signal.signal(number, self._on_signal)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number in (signal.SIGTERM, signal.SIGHUP):
            self.ended_by = signal.Signals(number)
        self._note(_SIGNALS[signal.Signals(number)])

    def note_answer(self) -> None:
        """Say that there is an answer; any thread may."""
        self._note(ANSWERED)

    def _note(self, name: str) -> None:
        with suppress(OSError):  # it is left already, or enough is said
            self._there.send(name[0].encode())

    def wait(self) -> list[str]:
        """Wait until something happens; return what: keys, and the words of this module."""
        waited_for = [self._here] if self._typed is None else [self._here, self._typed]
        ready = select.select(waited_for, [], [])[0]
        found: list[str] = []
        if self._here in ready:
            said = self._here.recv(_READ_BYTES)
            found += [_BY_BYTE[said[place : place + 1]] for place in range(len(said))]
        if self._typed in ready:
            found += self._read_keys(self._typed)
        return found

    def _read_keys(self, typed: int) -> list[str]:
        try:
            data = os.read(typed, _READ_BYTES)
        except OSError:  # EIO: the terminal is gone
            data = b""
        return keys(data.decode("utf-8", "replace")) if data else [QUIT]
