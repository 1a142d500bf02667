"""What a supervisor is given: its plugins, its log, and what was handed over to it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from host.interfaces import Listener
from host.ipc.assignment import Assignment
from host.plugin.binding import Timed
from host.plugin.registry import Registry
from host.supervisor.reload.handover import Handover
from host.telemetry.emitter import Telemetry
from host.telemetry.logs import LogWriter


class HostView(NamedTuple):
    """What `on_host_start` is told."""

    name: str
    pid: int
    workers: int
    listeners: tuple[Listener, ...]
    hook: Callable[..., Any]


class Dependencies(NamedTuple):
    """What the supervisor is made of, apart from the settings.

    Attributes:
        registry: the loaded plugins.
        telemetry: where events are told.
        log: writes the log lines; the supervisor's loop has it try again when it must.
        version: the host's own version.
        run_worker: what a worker does in its process; returns the exit code.
        load_scheduler: loads one scheduler plugin by name; raises PluginError.
        max_connections: how many connections one worker may hold.
        control: the control socket, if there is to be one; the supervisor closes it.
        handed: what the supervisor before an exec has handed over.
        inherited: the sockets that it has handed over.
        failed: why the new generation cannot start, after an exec.
        timed: what measures the hooks that plugins bring and workers call; None measures nothing.
    """

    registry: Registry
    telemetry: Telemetry
    log: LogWriter
    version: str
    run_worker: Callable[[Assignment], int]
    load_scheduler: Callable[[str], Registry]
    max_connections: int
    control: socket.socket | None = None
    handed: Handover | None = None
    inherited: Sequence[socket.socket] = ()
    failed: str = ""
    timed: Timed | None = None
