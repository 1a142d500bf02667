"""Stacks of workers that hang or crash, printed by faulthandler into a pipe to the supervisor.

faulthandler writes from within the signal handler, in C: it needs neither the interpreter's lock
nor a turn of the loop. A process that is stopped (SIGSTOP) prints nothing until it goes on.

Stacks alone do not tell for whom something runs: a task of asyncio may be anybody's. So a process
may also have a function say what it is at, which the interpreter calls as soon as it gets to it.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress

from host.text import printable

SIGNAL = signal.SIGRTMAX - 1
"""What makes a worker print its stacks; a real-time signal, since plugins use the others."""
MAX_BYTES = 65_536
_LOOP = os.path.join(os.path.dirname(__file__), "loop.py")
_ASYNCIO_LOOP = os.path.join(os.path.dirname(os.path.dirname(__file__)), "asyncio", "event_loop.py")
_AT, _MAX_AT = "At work:", 1000
_FRAME = re.compile(r'^\s+File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)$')


def print_to(descriptor: int) -> None:
    """Have this process print its stacks to `descriptor` when it crashes or is sent SIGNAL.

    The descriptor must stay open; nothing ever waits for it.
    """
    os.set_blocking(descriptor, False)
    faulthandler.enable(file=descriptor, all_threads=True)
    faulthandler.register(SIGNAL, file=descriptor, all_threads=True, chain=False)


def print_crash_to(descriptor: int) -> None:
    """Have this process print where it was to `descriptor` when it crashes, for its last words.

    So a plugin whose code in C ends the process is found. A fork of the host's own does not.
    """
    faulthandler.enable(file=descriptor, all_threads=False)


def explain_by(explain: Callable[[], Sequence[str]], descriptor: int) -> None:
    """Have what `explain` returns printed after the stacks, if it is called at all.

    It is called in the main thread, between two instructions of what runs there. Code in C that
    does not return keeps it from that, but no system call that waits does: that is interrupted.

    Args:
        explain: says in one line what the main thread is at, and in others what belongs to it; what
            it raises is left out.
        descriptor: what `print_to` was given.
    """

    def print_explanation(_number: int, _frame: object) -> None:
        with suppress(Exception):
            lines = "\n".join(printable(line)[:_MAX_AT] for line in explain())
            os.write(descriptor, f"{_AT} {lines}\n".encode())

    faulthandler.unregister(SIGNAL)
    signal.signal(SIGNAL, print_explanation)
    faulthandler.register(SIGNAL, file=descriptor, all_threads=True, chain=True)
    # faulthandler has read(2) and the like go on waiting (SA_RESTART, sigaction(2)).
    signal.siginterrupt(SIGNAL, True)


class StackReader:
    """The supervisor's end of the pipe: what a worker has printed so far.

    Args:
        descriptor: the end to read from; `close` closes it.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor, self._data = descriptor, b""

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def read(self) -> bool:
        """Take what has been printed; False at the end. Only the last of it is kept."""
        while True:
            try:
                data = os.read(self._descriptor, MAX_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._data = (self._data + data)[-MAX_BYTES:]

    @property
    def text(self) -> str:
        """What has been printed, or ""."""
        return self._data.decode("utf-8", "backslashreplace")

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


def frames(text: str) -> list[tuple[str, int, str]]:
    """Return file, line and function of each frame, innermost first, of all threads."""
    found = []
    for line in text.splitlines():
        if match := _FRAME.match(line):
            found.append((match["file"], int(match["line"]), match["name"]))
    return found


def explanation(text: str) -> str:
    """Return what the process has said that it is at, or ""."""
    said = [line for line in text.splitlines() if line.startswith(_AT)]
    return said[-1].removeprefix(_AT).strip() if said else ""


def trim(text: str) -> str:
    """Leave out what it is at, and the frames that lead to the loop in each thread: all alike."""
    kept, leading = [], False
    for line in text.strip().splitlines():
        match = _FRAME.match(line)
        if match is None:
            leading = False
        elif match["file"] == _LOOP or (match["file"], match["name"]) == (_ASYNCIO_LOOP, "serve"):
            leading = True
        if not leading and not line.startswith(_AT):
            kept.append(line)
    return "\n".join(kept)
