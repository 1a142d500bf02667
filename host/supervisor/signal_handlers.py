"""What the supervisor does at each signal, in the order of the table of signals."""

from __future__ import annotations

import signal
from collections.abc import Callable

from host.runtime.signals import Handler


def signal_handlers(
    *,
    on_stop: Handler,
    stop_now: Handler,
    reload: Handler,
    scale_by: Callable[[signal.Signals, int], object],
    reopen_log: Handler,
    reap: Handler,
) -> dict[signal.Signals, Handler]:
    """Return what the supervisor does at each signal of the table (host.runtime.signal_table)."""
    return {
        signal.SIGTERM: on_stop,
        signal.SIGINT: on_stop,
        signal.SIGQUIT: stop_now,
        signal.SIGHUP: reload,
        signal.SIGTTIN: lambda number: scale_by(number, 1),
        signal.SIGTTOU: lambda number: scale_by(number, -1),
        signal.SIGUSR1: reopen_log,
        signal.SIGCHLD: reap,
    }
