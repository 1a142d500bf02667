"""Strays: processes that a plugin has forked, and that must not go on as a second worker.

A child of os.fork() has everything of its parent: the sockets, the epoll instance, the hook that it
returns from into the host's own code. So it loses what is the host's right at its birth, and is
ended as soon as it comes back to the host. What the plugin's own code does in it is the plugin's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress


class _Process:
    """What is known of this process.

    Attributes:
        forsake: what takes from a stray child that which is not its own.
        forking: whether the host itself is forking.
        is_stray: whether a plugin has forked this process.
    """

    def __init__(self) -> None:
        self.release: list[Callable[[], object]] = []
        self.forking = self.is_stray = False

    def born(self) -> None:
        """Find out, in a new child, whose it is."""
        if self.forking:
            self.release.clear()
            return
        self.is_stray = True
        for function in self.release:
            with suppress(Exception):  # whatever cannot be taken away: the rest is
                function()


_this = _Process()
os.register_at_fork(after_in_child=_this.born)


def release_in_plugin_fork(function: Callable[[], object]) -> None:
    """Have `function` take from a stray child what is this process's: close it, and call nobody."""
    _this.release.append(function)


def fork() -> int:
    """Fork a process of the host's own (fork(2)); what was disowned before it is not in it."""
    exit_if_plugin_fork()
    _this.forking = True
    try:
        return os.fork()
    finally:
        _this.forking = False


def exit_if_plugin_fork() -> None:
    """End this process at once if a plugin has forked it."""
    if _this.is_stray:
        os._exit(0)
