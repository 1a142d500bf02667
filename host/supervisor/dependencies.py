"""What a supervisor is given: its plugins, its log, and what the one before has handed over."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from host.interfaces import Listener
from host.ipc.assignment import Assignment, BridgeAssignment, OpsAssignment
from host.metrics.declaring import DeclaredMetrics, PluginMetrics
from host.net.activation import PassedSockets
from host.net.listeners import ListeningSocket
from host.plugin.binding import Timed
from host.plugin.interference import Keeping
from host.plugin.registry import Registry
from host.runtime.notifications import Notifier
from host.runtime.origin import Origin
from host.runtime.scheduling import BatchScheduling
from host.runtime.signals import Signals
from host.runtime.steps import Steps
from host.settings import AppliedSetting, Settings
from host.supervisor.reload.handover import Handover
from host.telemetry.emitter import Telemetry
from host.telemetry.events import STOP_ASKED
from host.telemetry.logs import LogWriter
from host.text import listed

if TYPE_CHECKING:
    from host.tls.tables import TlsContexts


class HostView(NamedTuple):
    """The host as plugins see it in `on_host_start`.

    Attributes:
        name: its name in the settings.
        pid: the supervisor's process id.
        workers: how many workers the settings ask for.
        listeners: what it listens on.
        hook: binds a hook that a plugin brings, as `Registry.hook` does.
        telemetry: told when a plugin stops the host.
        declared: the metrics of all plugins.
        plugin: the plugin that sees it; "" for none.
    """

    name: str
    pid: int
    workers: int
    listeners: tuple[Listener, ...]
    hook: Callable[..., Any]
    telemetry: Telemetry
    declared: DeclaredMetrics
    plugin: str = ""

    def of(self, plugin: str) -> HostView:
        """Return what one plugin sees."""
        return self._replace(plugin=plugin)

    @property
    def metrics(self) -> PluginMetrics:
        """Declares the metrics of the plugin."""
        return self.declared.of(self.plugin)

    def stop(self, reason: str) -> None:
        """Have the host stop as on SIGTERM; call it in the supervisor or in a worker."""
        if self.pid in (os.getpid(), os.getppid()):  # else the supervisor has ended
            self.telemetry.emit(STOP_ASKED, pid=os.getpid(), reason=reason)
            os.kill(self.pid, signal.SIGTERM)


class Starters(NamedTuple):
    """The plugins that are told that the host starts, for what may be any of them.

    Attributes:
        name: their names.
        origin: where they came from, as far as that is one place.
    """

    name: str
    origin: str

    @classmethod
    def of(cls, registry: Registry) -> Starters:
        """Return those of a registry."""
        found = [each for each in registry.plugins if "on_host_start" in each.hooks]
        origin = found[0].origin if len(found) == 1 else ""
        return cls(listed(each.name for each in found), origin)


def view_of(
    settings: Settings,
    listeners: tuple[Listener, ...],
    hook: Callable[..., Any],
    telemetry: Telemetry,
    declared: DeclaredMetrics,
) -> HostView:
    """Return the host of this process as plugins see it; see `HostView`."""
    name, workers = settings.name, settings.workers
    return HostView(name, os.getpid(), workers, listeners, hook, telemetry, declared)


class Dependencies(NamedTuple):
    """What the supervisor is made of, apart from the settings.

    Attributes:
        registry: the loaded plugins.
        telemetry: where events are told.
        log: writes the log lines; the supervisor's loop has it try again when it must.
        signals: they are noted already; the supervisor says what to do at them, and closes them.
        version: the host's own version.
        run_worker: what a worker does in its process; returns the exit code.
        load_scheduler: loads one scheduler plugin by name, in steps; raises PluginError.
        max_connections: how many connections one worker may hold.
        batch: begun while the supervisor runs: connections come together while it waits for a
            core. It ends in workers, which are not made to wait.
        applied: returns the settings as people see them.
        origin: variables and working directory that the host was started with.
        passed: the sockets that a service manager has passed; the supervisor closes them.
        notifier: tells the service manager, if there is one; the supervisor closes it.
        stored: the inode of each socket that the service manager keeps, by its name there.
        control: the control socket, if there is to be one; the supervisor closes it.
        handed: what the supervisor before an exec has handed over; None if there was none.
        inherited: the bound sockets in it.
        failed: why the new generation cannot start, after an exec; "" if it can.
        tls: the certificates; None if there are none.
        ops: the bound sockets where it is shown how the host is; the supervisor closes them.
        run_ops: what the process does that shows it; None if there is to be none: the token that
            it would ask for cannot be read.
        run_bridge: what the process does that speaks to a broker; None if there is none, or it
            cannot be spoken to now: its password cannot be read.
        kept: what root has read of them, which a reload hands over; None if there is nothing.
        timed: what measures the hooks that plugins bring and workers call; None measures nothing.
        keeping: returns what plugins must leave alone in `on_host_start`, when that is called.
        owner: returns the plugin in whose code an error was raised; None if there is none.
    """

    registry: Registry
    telemetry: Telemetry
    log: LogWriter
    signals: Signals
    version: str
    run_worker: Callable[[Assignment], int]
    load_scheduler: Callable[[str], Steps[Registry]]
    max_connections: int
    batch: BatchScheduling
    applied: Callable[[], list[AppliedSetting]]
    origin: Origin
    passed: PassedSockets
    notifier: Notifier | None = None
    stored: Mapping[str, int] = MappingProxyType({})
    control: socket.socket | None = None
    handed: Handover | None = None
    inherited: Sequence[socket.socket] = ()
    failed: str = ""
    tls: TlsContexts | None = None
    ops: Sequence[ListeningSocket] = ()
    run_ops: Callable[[OpsAssignment], int] | None = None
    run_bridge: Callable[[BridgeAssignment], int] | None = None
    kept: int | None = None
    timed: Timed | None = None
    keeping: Callable[[], Keeping] = Keeping
    owner: Callable[[BaseException], str | None] = lambda _error: None
