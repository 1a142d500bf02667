"""Processes: fork, reap, and die with the parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: one of `code` and `signal` is None."""

    pid: int
    code: int | None
    signal: int | None

    def __str__(self) -> str:
        if self.signal is None:
            return f"exit code {self.code}"
        try:
            return f"killed by {signal.Signals(self.signal).name}"
        except ValueError:
            return f"killed by signal {self.signal}"


def fork(child: Callable[[], int]) -> int:
    """Fork; return the child's pid. The child runs `child` and exits with what it returns.

    The child never returns into the caller's code: no `finally` of the parent runs twice.

    Raises:
        OSError: EAGAIN or ENOMEM (fork(2)).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = child()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def reap() -> Iterator[Exit]:
    """Collect every child that has ended (waitpid(2)); one SIGCHLD may stand for many."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        yield Exit(pid, code if code >= 0 else None, -code if code < 0 else None)


def die_with_parent(parent: int) -> bool:
    """Have the kernel kill this process when `parent` dies (prctl(2), PR_SET_PDEATHSIG).

    Call it in the child, after any change of user, which would undo it. The parent may have died
    before the call took effect: that shows in the parent's pid.

    Returns:
        False if the parent is dead already.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return os.getppid() == parent
