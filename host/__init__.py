"""The host's public names: all that a plugin needs to import."""

from host.errors import PluginError
from host.hookspecs import hookimpl
from host.views import (
    ChildExit,
    CloseReason,
    Connection,
    Host,
    Listener,
    Timer,
    Worker,
    WorkerView,
)

__all__ = [
    "ChildExit",
    "CloseReason",
    "Connection",
    "Host",
    "Listener",
    "PluginError",
    "Timer",
    "Worker",
    "WorkerView",
    "hookimpl",
]
