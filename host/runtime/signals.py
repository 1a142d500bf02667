"""Signals as events of the loop: a handler only writes a byte, the loop does the work."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

IGNORED = frozenset({signal.SIGPIPE})


def _written_elsewhere(_signum: int, _frame: object) -> None:
    """Do nothing: the interpreter has already written the signal's number (set_wakeup_fd)."""


Handler = Callable[[signal.Signals], object]


# The public function tries to find the handler among the members of an enumeration, which takes
# 3.6 µs; the supervisor asks in every turn.
getsignal: Callable[[int], object] = _signal.getsignal


class Signals:
    """Turns signals into calls on the loop; make it in the main thread, after the fork.

    Watch `fileno()` for reading and call `handle()`. A byte that finds the socket full is lost,
    which is harmless: every handler looks at the state of things, not at a count of signals.

    Args:
        handlers: what to call for each signal; all other signals stay as they are.
    """

    def __init__(self, handlers: Mapping[signal.Signals, Handler]) -> None:
        self._handlers = dict(handlers)
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._previous: dict[signal.Signals, Any] = {}
        for number in self._handlers:
            self._previous[number] = signal.signal(number, _written_elsewhere)
        for number in IGNORED:
            self._previous[number] = signal.signal(number, signal.SIG_IGN)
        self._previous_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    @property
    def replaced(self) -> bool:
        """Whether a plugin has replaced the handler of SIGTERM: the host could not be stopped."""
        return getsignal(signal.SIGTERM) is not _written_elsewhere

    def restore(self) -> list[signal.Signals]:
        """Put back handlers that a plugin has replaced; return for which signals."""
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        replaced = []
        for number in self._handlers:
            if getsignal(number) is not _written_elsewhere:
                signal.signal(number, _written_elsewhere)
                replaced.append(number)
        return replaced

    def block(self) -> None:
        """Have the signals wait: across an exec there is a time without handlers."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._handlers)

    def unblock(self) -> None:
        """Let the signals come, also those that have waited since before an exec."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._handlers)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when a signal has come."""
        return self._reader.fileno()

    def handle(self, _mask: int = 0) -> None:
        """Call the handler of each signal that has come, once per kind."""
        try:
            numbers = self._reader.recv(4096)
        except BlockingIOError:
            return
        for number, handler in self._handlers.items():  # others' signals write here, too
            if number in numbers:
                handler(number)

    def close(self) -> None:
        """Put back the handlers that were there before."""
        signal.set_wakeup_fd(self._previous_fd)
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        self._reader.close()
        self._writer.close()
