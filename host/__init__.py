"""The host's public names: all that a plugin needs to import."""

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
