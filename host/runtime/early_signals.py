"""Signals while a process starts: they wait until it is known what they mean to it.

Only modules that are part of the interpreter are imported here: this comes before all else.
"""

import _signal  # type: ignore[import-not-found]

WAITING = (
    *(_signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGHUP),
    *(_signal.SIGTTIN, _signal.SIGTTOU, _signal.SIGUSR1),
)
"""Those that others send to a host on purpose: the table in `signal_table`, without SIGCHLD."""


def block() -> None:
    """Have them wait (sigprocmask(2)).

    The kernel keeps a blocked signal for process 1, too; one that has no handler and is not blocked
    is lost there (kill(2)).
    """
    _signal.pthread_sigmask(_signal.SIG_BLOCK, WAITING)


def unblock() -> None:
    """Let all signals do what they do in any program, also those that were blocked before it."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
