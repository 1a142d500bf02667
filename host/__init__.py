"""The host's public names: all that a plugin needs to import."""

import sys

if sys.argv[:1] == ["-m"] and "host" in sys.orig_argv and not sys.flags.safe_path:
    # `python -m host` is about to run (sys.argv in the library reference), and what is imported
    # below must not come from the working directory: it goes from the first place to the last.
    sys.path.append(sys.path.pop(0))

from host.errors import PluginError
from host.hookspecs import hookimpl, hookspec
from host.interfaces import (
    BUS_LEFT,
    BUS_LOST,
    Bus,
    ChildExit,
    CloseReason,
    Connection,
    Host,
    Listener,
    Message,
    Timer,
    Worker,
    WorkerView,
)

__all__ = [
    "BUS_LEFT",
    "BUS_LOST",
    "Bus",
    "ChildExit",
    "CloseReason",
    "Connection",
    "Host",
    "Listener",
    "Message",
    "PluginError",
    "Timer",
    "Worker",
    "WorkerView",
    "hookimpl",
    "hookspec",
]
