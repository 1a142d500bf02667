"""Which signals mean something to the host: the one list of them, for code, tests and documents."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class SignalMeaning(NamedTuple):
    """What a signal does, in words for people who operate a host.

    Attributes:
        supervisor: what the supervisor does.
        worker: what a worker does.
        ignored_by_workers: whether a worker has a handler for it that does nothing. A terminal
            sends some signals to all processes of the host, where the supervisor alone decides.
        blocked: whether it is never delivered, and the supervisor reads it from a descriptor. A
            terminal sends it to all processes when one of them uses it in the background, and to
            each that tries again, without end; if it is blocked, writing succeeds and reading
            fails (the kernel's tty_check_change and job_control).
    """

    supervisor: str
    worker: str
    ignored_by_workers: bool = True
    blocked: bool = False


SIGNALS: Mapping[signal.Signals, SignalMeaning] = MappingProxyType(
    {
        signal.SIGTERM: SignalMeaning(
            supervisor="stop: drain, then end",
            worker="it is replaced: its successor gets ready, then it drains",
            ignored_by_workers=False,
        ),
        signal.SIGINT: SignalMeaning(
            supervisor="the same as SIGTERM; once the host has been stopping for half a second, it"
            " stops at once",
            worker="nothing: from a terminal it reaches all processes, and the supervisor decides",
        ),
        signal.SIGQUIT: SignalMeaning(supervisor="stop at once", worker="nothing"),
        signal.SIGHUP: SignalMeaning(supervisor="reload", worker="nothing"),
        signal.SIGTTIN: SignalMeaning(
            supervisor="one worker more, until the next reload",
            worker="nothing",
            ignored_by_workers=False,
            blocked=True,
        ),
        signal.SIGTTOU: SignalMeaning(
            supervisor="one worker less, until the next reload",
            worker="nothing",
            ignored_by_workers=False,
            blocked=True,
        ),
        signal.SIGUSR1: SignalMeaning(
            supervisor="open the log file anew, in all processes, if the log goes to a file",
            worker="nothing",
        ),
        signal.SIGCHLD: SignalMeaning(
            supervisor="find out which worker has ended, and replace it",
            worker="nothing: child processes of a plugin are left to the plugin",
            ignored_by_workers=False,  # without a handler it is discarded (signal(7))
        ),
    }
)
"""The supervisor has a handler for each of these. Other signals do what they do in any program."""
BLOCKED = frozenset(number for number, each in SIGNALS.items() if each.blocked)
"""Those that are blocked in all processes of the host."""
IGNORED_BY_WORKERS = tuple(number for number, each in SIGNALS.items() if each.ignored_by_workers)
"""Those that have a handler which does nothing, in all processes but the supervisor."""
