"""The host's public names: all that a plugin needs to import."""

import sys
from itertools import pairwise

from host.runtime import early_signals

if sys.argv[:1] == ["-m"] and ("-m", "host") in pairwise(sys.orig_argv):
    # `python -m host` is about to run (sys.argv in the library reference): signals must wait.
    early_signals.block()
    if not sys.flags.safe_path:
        # What is imported from now on must not come from the working directory: it goes from the
        # first place to the last.
        sys.path.append(sys.path.pop(0))
elif "".join(sys.argv[:1]).endswith("/prefork"):  # the console script
    early_signals.block()

from importlib import import_module

# That of typing, whose import takes longer than all else that a probe needs (`status --ready`).
TYPE_CHECKING = False
if TYPE_CHECKING:
    from host.errors import PluginError
    from host.hookspecs import hookimpl, hookspec
    from host.interfaces import (
        BUS_LEFT,
        BUS_LOST,
        BUS_TAKEN,
        Bus,
        ChildExit,
        CloseReason,
        Connection,
        ConnectionOrigin,
        Counter,
        Datagram,
        Gauge,
        Histogram,
        Host,
        Listener,
        Message,
        Metrics,
        PicklingError,
        Pool,
        PoolError,
        PoolFullError,
        ProxyHeader,
        ProxyTls,
        RequestLog,
        Result,
        Table,
        TaskCancelledError,
        TaskLostError,
        TaskTimeoutError,
        Timer,
        TlsInfo,
        Worker,
        WorkerView,
        WouldBlockError,
    )

__all__ = [
    "BUS_LEFT",
    "BUS_LOST",
    "BUS_TAKEN",
    "Bus",
    "ChildExit",
    "CloseReason",
    "Connection",
    "ConnectionOrigin",
    "Counter",
    "Datagram",
    "Gauge",
    "Histogram",
    "Host",
    "Listener",
    "Message",
    "Metrics",
    "PicklingError",
    "PluginError",
    "Pool",
    "PoolError",
    "PoolFullError",
    "ProxyHeader",
    "ProxyTls",
    "RequestLog",
    "Result",
    "Table",
    "TaskCancelledError",
    "TaskLostError",
    "TaskTimeoutError",
    "Timer",
    "TlsInfo",
    "Worker",
    "WorkerView",
    "WouldBlockError",
    "hookimpl",
    "hookspec",
]

_PLACES = {
    "PluginError": "host.errors",
    "hookimpl": "host.hookspecs",
    "hookspec": "host.hookspecs",
}
"""Where the names are that `host.interfaces` does not have."""


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562).

    `status --ready`, which is asked each second, uses none, and would take twice as long.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_PLACES.get(name, "host.interfaces")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
