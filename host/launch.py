"""Composition: turns validated settings into a running host."""

from __future__ import annotations

import os
import resource
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from host import worker
from host.assignment import Assignment
from host.control import MAX_LISTENERS
from host.errors import ExitCode, HostError, LimitsError
from host.events import DESCRIPTORS_CAPPED, HOST_BUG, HOST_STARTING, HOST_STOPPED, Level
from host.listeners import ListeningSocket, open_listener
from host.loading import load
from host.logs import Format, LogWriter, json_line, text_line
from host.registry import Registry
from host.supervisor import Supervisor
from host.telemetry import Telemetry
from settings import Limits, Listen, Loaded, Problem, Settings, SettingsError

DEFAULT_ADDRESS = "tcp://127.0.0.1:7000"
"""Where a host listens that was not told anything: only programs of this machine reach it."""
RESERVED_DESCRIPTORS = 24
"""What a process of the host needs besides connections and listeners, with room for plugins."""


def launch(loaded: Loaded, version: str) -> ExitCode:
    """Run a host until it is told to stop; return the exit code.

    Raises:
        SettingsError, PluginError, ListenError, LimitsError: it cannot start; nothing is left
            behind.
    """
    settings = loaded.settings
    registry = load(loaded)
    served = assign(settings, registry)
    log = LogWriter(2, _format(settings), Level[settings.log.level.upper()])
    telemetry = Telemetry(log, debug=settings.log.level == "debug")
    limit = max_connections(settings.limits, len(served))
    with bound(served) as sockets:
        telemetry.emit(
            HOST_STARTING,
            name=settings.name,
            version=version,
            pid=os.getpid(),
            workers=settings.workers,
        )
        if limit < settings.limits.max_connections_per_worker:
            allowed = limit + RESERVED_DESCRIPTORS + len(served)
            telemetry.emit(DESCRIPTORS_CAPPED, allowed=allowed, connections=limit)

        def run_worker(assignment: Assignment) -> int:
            try:
                return worker.run(assignment, settings, registry, telemetry, log)
            except Exception as error:
                return tell_bug(error, telemetry)

        supervisor = Supervisor(
            settings,
            registry,
            sockets,
            telemetry,
            log,
            run_worker=run_worker,
            max_connections=limit,
        )
        try:
            code = supervisor.run()
        except HostError:
            raise
        except Exception as error:
            code = tell_bug(error, telemetry)
    telemetry.emit(HOST_STOPPED, code=int(code), meaning=code.description)
    log.close()
    return code


def tell_bug(error: Exception, telemetry: Telemetry) -> ExitCode:
    """Tell of an error that nobody expected; return the exit code that says so."""
    stack = "".join(traceback.format_exception(error))
    telemetry.emit(HOST_BUG, error=f"{type(error).__name__}: {error}", traceback=stack)
    return ExitCode.BUG


def assign(settings: Settings, registry: Registry) -> list[tuple[Listen, str]]:
    """Return what to listen on, each with the name of the plugin that serves it.

    Raises:
        PluginError: a listener's plugin is not selected, or is no protocol.
        SettingsError: no plugin, or not just one, could serve a listener.
    """
    listens = settings.listen or (Listen(address=DEFAULT_ADDRESS),)
    served = []
    for listen in listens:
        if listen.plugin is not None:
            served.append((listen, registry.protocol(listen.plugin).name))
        elif len(registry.protocols) == 1:
            served.append((listen, registry.protocols[0]))
        else:
            raise _nobody_serves(listen, registry)
    return served


def _nobody_serves(listen: Listen, registry: Registry) -> SettingsError:
    if not registry.protocols:
        names = ", ".join(plugin.name for plugin in registry.plugins) or "none"
        message = (
            f"none of the selected plugins ({names}) is a protocol, so nobody serves "
            f"{listen.address}: select one, for example --plugin echo"
        )
        return SettingsError([Problem("plugins", "", message, "")])
    names = ", ".join(registry.protocols)
    message = (
        f"several of the selected plugins could serve {listen.address} ({names}): say which one, "
        f"for example {listen.address}={registry.protocols[0]}"
    )
    return SettingsError([Problem("listen", "", message, "")])


@contextmanager
def bound(served: list[tuple[Listen, str]]) -> Iterator[list[ListeningSocket]]:
    """Bind all listeners, or none; close those that are still open at the end.

    Raises:
        ListenError: the machine refuses one of them.
    """
    if len(served) > MAX_LISTENERS:
        raise LimitsError(f"{len(served)} listeners are too many: {MAX_LISTENERS} are possible")
    sockets: list[ListeningSocket] = []
    try:
        for index, (listen, plugin) in enumerate(served):
            sockets.append(open_listener(listen, index, plugin))
        yield sockets
    finally:
        for listener in sockets:
            listener.close()


def max_connections(limits: Limits, listeners: int) -> int:
    """Return how many connections a worker may hold; raise the descriptor limit if need be.

    Raises:
        LimitsError: the settings ask for more descriptors than this process may have. A default
            asks for nothing: it is lowered.
    """
    wanted, reserved = limits.max_connections_per_worker, RESERVED_DESCRIPTORS + listeners
    allowed = raise_descriptor_limit(wanted + reserved)
    room = allowed - reserved
    if room >= wanted:
        return wanted
    default: int = Limits.model_fields["max_connections_per_worker"].default
    if wanted != default or room < 1:
        raise LimitsError(
            f"limits.max_connections_per_worker = {wanted} needs {wanted + reserved} file "
            f"descriptors, and this process may have {allowed}: raise RLIMIT_NOFILE (ulimit -n, "
            f"or LimitNOFILE= of a service) or set it to {max(room, 1)} at most"
        )
    return room


def raise_descriptor_limit(needed: int) -> int:
    """Raise RLIMIT_NOFILE (getrlimit(2)) as far as needed and allowed; return what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = needed
    if soft < needed:
        with suppress(ValueError, OSError):  # only with CAP_SYS_RESOURCE, and up to fs.nr_open
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, hard)))
            return needed
        soft = min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft


def _format(settings: Settings) -> Format:
    return json_line if settings.log.format == "json" else text_line
