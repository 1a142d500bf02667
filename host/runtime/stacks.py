"""Stacks of workers that hang or crash, printed by faulthandler into a pipe to the supervisor.

faulthandler writes from within the signal handler, in C: it needs neither the interpreter's lock
nor a turn of the loop. A process that is stopped (SIGSTOP) prints nothing until it goes on.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal

SIGNAL = signal.SIGRTMAX - 1
"""What makes a worker print its stacks; a real-time signal, since plugins use the others."""
MAX_BYTES = 65_536
_LOOP = os.path.join(os.path.dirname(__file__), "loop.py")
_PACKAGE = os.path.dirname(os.path.dirname(__file__))
_AROUND_TASKS = tuple(os.path.join(_PACKAGE, name, "") for name in ("asyncio", "profiling"))
_CALLBACKS = os.path.join("asyncio", "events.py")
_FRAME = re.compile(r'^\s+File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)$')


def print_to(descriptor: int) -> None:
    """Have this process print its stacks to `descriptor` when it crashes or is sent SIGNAL.

    The descriptor must stay open; nothing ever waits for it.
    """
    os.set_blocking(descriptor, False)
    faulthandler.enable(file=descriptor, all_threads=True)
    faulthandler.register(SIGNAL, file=descriptor, all_threads=True, chain=False)


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


def task_frame(text: str) -> tuple[str, int, str] | None:
    """Return where the task or callback of asyncio is that some thread runs; None if none does.

    It is the outermost frame that asyncio has called, without those of the host: of a task its
    coroutine, in the line where it is.
    """
    inner: list[tuple[str, int, str]] = []  # of this thread, innermost first
    for line in text.splitlines():
        match = _FRAME.match(line)
        if match is None:
            inner = []
        elif _runs_tasks(match):
            of_plugins = (each for each in reversed(inner) if not each[0].startswith(_AROUND_TASKS))
            return next(of_plugins, None)
        else:
            inner.append((match["file"], int(match["line"]), match["name"]))
    return None


def trim(text: str) -> str:
    """Leave out the frames that lead to the host's loop, or asyncio's: these are all alike."""
    kept, leading = [], False
    for line in text.strip().splitlines():
        match = _FRAME.match(line)
        if match is None:
            leading = False
        elif match["file"] == _LOOP or _runs_tasks(match):
            leading = True
        if not leading:
            kept.append(line)
    return "\n".join(kept)


def _runs_tasks(frame: re.Match[str]) -> bool:
    """Tell whether it is where asyncio calls callbacks and goes on with tasks (Handle._run)."""
    return frame["name"] == "_run" and frame["file"].endswith(_CALLBACKS)
