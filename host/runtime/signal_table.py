"""Which signals mean something to the host: the one list of them, for code, tests and documents."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class SignalMeaning:
    """What a signal does, in words for people who operate a host.

    Attributes:
        supervisor: what the supervisor does.
        worker: what a worker does.
        ignored_by_workers: whether a worker has a handler for it that does nothing. A terminal
            sends some signals to all processes of the host, where the supervisor alone decides.
    """

    supervisor: str
    worker: str
    ignored_by_workers: bool = True


SIGNALS: Mapping[signal.Signals, SignalMeaning] = MappingProxyType(
    {
        signal.SIGTERM: SignalMeaning(
            supervisor="stop: drain, then end",
            worker="it is replaced: its successor gets ready, then it drains",
            ignored_by_workers=False,
        ),
        signal.SIGINT: SignalMeaning(
            supervisor="the same as SIGTERM; a second one stops at once",
            worker="nothing: from a terminal it reaches all processes, and the supervisor decides",
        ),
        signal.SIGQUIT: SignalMeaning(supervisor="stop at once", worker="nothing"),
        signal.SIGHUP: SignalMeaning(supervisor="reload", worker="nothing"),
        signal.SIGTTIN: SignalMeaning(
            supervisor="one worker more, until the next reload", worker="nothing"
        ),
        signal.SIGTTOU: SignalMeaning(
            supervisor="one worker less, until the next reload", worker="nothing"
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
