"""Processes that a plugin has forked: they must not go on as a second worker or supervisor.

A child of os.fork() has copies of all that its parent has: the sockets, the epoll instance, and the
call stack, so that it would return from the plugin's hook into the host's own code. Therefore the
host's resources are closed in the child as soon as it exists, and it exits as soon as it returns
to the host. What the plugin's own code does in the child before that is left to the plugin.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

_ALL_SIGNALS = _signal.valid_signals()


class _Mask(threading.local):
    """Which signals a thread had blocked before it began to fork."""

    before: Iterable[int] = ()


class _Process:
    """What is known of this process.

    Attributes:
        closers: called in a child that a plugin has forked, to close what is the host's.
        forking: whether the host itself is forking.
        is_plugin_fork: whether a plugin has forked this process.
    """

    def __init__(self) -> None:
        self.closers: list[Callable[[], object]] = []
        self.forking = self.is_plugin_fork = False
        self._mask = _Mask()

    def begin(self) -> None:
        """Have signals wait: a handler of the parent's, in the child, would tell the parent."""
        self._mask.before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _ALL_SIGNALS)

    def end(self) -> None:
        """Let them come again."""
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask.before)

    def born(self) -> None:
        """Close what is the host's in a new child, if a plugin has forked it."""
        if self.forking:
            self.closers.clear()
            return
        self.is_plugin_fork = True
        for function in self.closers:
            with suppress(Exception):  # if one thing cannot be closed, the others are
                function()
        self.end()


_this = _Process()
os.register_at_fork(before=_this.begin, after_in_parent=_this.end, after_in_child=_this.born)


def close_in_plugin_fork(function: Callable[[], object]) -> None:
    """Have `function` called in each child that a plugin forks.

    Args:
        function: closes what belongs to this process; it must not call plugins.
    """
    _this.closers.append(function)


def fork() -> int:
    """Fork a process of the host's own (fork(2)).

    Functions given to `close_in_plugin_fork` before are forgotten in the child. All signals are
    blocked there until it makes `Signals` of its own.
    """
    exit_if_plugin_fork()
    _this.forking = True
    try:
        return os.fork()
    finally:
        _this.forking = False


def exit_if_plugin_fork() -> None:
    """End this process at once if a plugin has forked it."""
    if _this.is_plugin_fork:
        os._exit(0)
