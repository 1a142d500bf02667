"""Composition: turns validated settings into a running host."""

from __future__ import annotations

import dataclasses
import functools
import os
import resource
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from host.control.server import ControlServer
from host.errors import ExitCode, HostError, LimitsError, ListenError, PluginError
from host.ipc.assignment import Assignment
from host.ipc.protocol import MAX_LISTENERS
from host.net.listeners import ListeningSocket, open_listener
from host.plugin.loading import load
from host.plugin.registry import Registry
from host.profiling import recorder
from host.profiling.recorder import Profile
from host.profiling.report import summarize
from host.runtime.processes import die_with_parent
from host.settings import (
    Limits,
    Listen,
    Loaded,
    Problem,
    Settings,
    SettingsError,
    ignored_variables,
)
from host.supervisor.dependencies import Dependencies
from host.supervisor.process import Supervisor
from host.supervisor.reload.handover import FORMAT, Handover, rehearsed_by, take_over
from host.supervisor.reload.rehearsal import Plan
from host.supervisor.reload.sockets import bound_before, take_listeners
from host.telemetry.emitter import Telemetry
from host.telemetry.events import (
    ADMIN_UNAVAILABLE,
    DESCRIPTORS_CAPPED,
    HOST_BUG,
    HOST_STARTING,
    HOST_STOPPED,
    LISTENING,
    VARIABLES_IGNORED,
    Level,
)
from host.telemetry.logs import Format, LogWriter, json_line, text_line
from host.worker import process

DEFAULT_ADDRESS = "tcp://127.0.0.1:7000"
"""Where a host listens that was not told anything: only programs of this machine reach it."""
_SUPERVISORS = ("on_host_start", "on_child_exit", "choose_worker")
RESERVED_DESCRIPTORS = 24
"""What a process of the host needs besides connections and listeners, with room for plugins."""


def launch(load_settings: Callable[[], Loaded], version: str) -> ExitCode:
    """Run a host until it is told to stop; return the exit code.

    In a process that tries a reload it only says what the settings ask for. In one that was
    re-executed by a reload it takes over from the process before.

    Raises:
        SettingsError, PluginError, ListenError, LimitsError: it cannot start; nothing is left
            behind.
    """
    parent = rehearsed_by()
    if parent is not None:
        return rehearse(load_settings, parent)
    handed = take_over()
    failed = ""
    try:
        staff = prepare(load_settings()) if handed is None else _prepare_alone(load_settings)
    except (HostError, SettingsError) as error:
        if handed is None:
            raise
        # What was tried a moment ago cannot be loaded any more. The workers that there are serve
        # on; they must not lose their supervisor.
        name = handed.admin[0] if handed.admin else "prefork"
        staff = prepare(Loaded(Settings(name=name, plugins=("echo",))))
        failed = str(error)
    return _run(staff, version, handed, failed)


def rehearse(load_settings: Callable[[], Loaded], parent: int) -> ExitCode:
    """Load settings and plugins, and print what they ask for; everything else stays as it is."""
    die_with_parent(parent)
    staff = _prepare_alone(load_settings)
    plan = Plan(format=FORMAT, listen=[listen for listen, _ in staff.served])
    print(f"\n{plan.model_dump_json()}", flush=True)
    return ExitCode.OK


class Prepared(NamedTuple):
    """What a host is to run with.

    Attributes:
        loaded: its settings.
        registry: its plugins.
        served: what it listens on, each with the plugin that serves it.
        limit: how many connections a worker may hold.
        profile: where its workers write what they have measured, if they shall.
    """

    loaded: Loaded
    registry: Registry
    served: list[tuple[Listen, str]]
    limit: int
    profile: Path | None

    @property
    def settings(self) -> Settings:
        """The settings alone."""
        return self.loaded.settings


def prepare(loaded: Loaded) -> Prepared:
    """Load the plugins that settings select, and find out what they are to serve."""
    settings, registry = loaded.settings, load(loaded)
    served = assign(settings, registry)
    limit = max_connections(settings.limits, len(served))
    return Prepared(loaded, registry, served, limit, profile_directory(loaded))


def _prepare_alone(load_settings: Callable[[], Loaded]) -> Prepared:
    """Load settings and plugins where nobody is there to interrupt: if a plugin does, it fails."""
    try:
        return prepare(load_settings())
    except KeyboardInterrupt as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{last.filename}:{last.lineno}"
        raise HostError(
            f"KeyboardInterrupt was raised while plugins were loaded: {place}"
        ) from None


def _run(staff: Prepared, version: str, handed: Handover | None, failed: str) -> ExitCode:
    settings = staff.settings
    log = LogWriter(2, _format(settings), Level[settings.log.level.upper()])
    telemetry = Telemetry(log, debug=settings.log.level == "debug")
    inherited = bound_before(handed.sockets) if handed else []
    sockets, failed = _listen(staff, handed, inherited, failed)
    if handed is None:
        _tell_start(staff, telemetry, version)
    else:
        log.restore(*handed.log)
    known = handed.served if handed else frozenset()
    for listener in sockets:
        view = listener.view
        if (view.address, view.plugin) not in known:
            telemetry.emit(LISTENING, address=view.address, plugin=view.plugin)

    run = recorder.run_name() if staff.profile else ""
    profile = Profile(staff.profile, run) if staff.profile else None

    def run_worker(assignment: Assignment) -> int:
        try:
            return process.run(assignment, settings, staff.registry, telemetry, log, profile)
        except Exception as error:
            return tell_bug(error, telemetry)

    wiring = Dependencies(
        staff.registry,
        telemetry,
        log,
        version,
        run_worker=run_worker,
        load_scheduler=functools.partial(_load_scheduler, staff.loaded),
        max_connections=staff.limit,
        admin=_open_admin(settings, telemetry, handed),
        handed=handed,
        inherited=inherited,
        failed=failed,
        timed=profile.timed if profile else None,
    )
    code = _supervise(settings, sockets, wiring)
    telemetry.emit(HOST_STOPPED, code=int(code), meaning=code.description)
    log.close()
    if staff.profile:
        _print(summarize(*recorder.collect(staff.profile, run), staff.profile))
    return code


def _supervise(
    settings: Settings, sockets: list[ListeningSocket], wiring: Dependencies
) -> ExitCode:
    try:
        return Supervisor(settings, sockets, wiring).run()
    except HostError:
        raise
    except Exception as error:
        return tell_bug(error, wiring.telemetry)


def _print(text: str) -> None:
    """Print to standard output, if it is there and somebody takes it."""
    if sys.stdout is not None:
        with suppress(OSError), open(1, "wb", closefd=False) as output:
            output.write(text.encode(errors="backslashreplace"))


def _open_admin(
    settings: Settings, telemetry: Telemetry, handed: Handover | None
) -> socket.socket | None:
    """Return the admin socket, bound now or before an exec; None if there is none to be had."""
    before = handed.admin if handed else None
    if before is not None:
        sock = socket.socket(fileno=before[1])
        if settings.admin.enabled and before[0] == settings.name:
            return sock
        sock.close()
    if not settings.admin.enabled:
        return None
    try:
        return ControlServer.bind(settings.name)
    except OSError as error:
        cause = error.strerror or str(error)
        telemetry.emit(ADMIN_UNAVAILABLE, address=f"@prefork/{settings.name}", cause=cause)
        return None


def _load_scheduler(loaded: Loaded, name: str) -> Registry:
    """Load one scheduler plugin into a running supervisor, with its options from the settings.

    Raises:
        PluginError: it cannot be loaded, is no scheduler, or has to do with connections as well.
    """
    settings = loaded.settings.model_copy(update={"plugins": (name,)})
    try:
        registry = load(dataclasses.replace(loaded, settings=settings))
    except SettingsError as error:
        raise PluginError(name, str(error)) from error
    plugin = next(each for each in registry.plugins if name in (each.name, each.selected))
    if not plugin.is_scheduler:
        raise PluginError(plugin.name, "it does not implement choose_worker", origin=plugin.origin)
    others = [hook for hook in plugin.hooks if hook not in _SUPERVISORS]
    if others:
        cause = f"it also implements {', '.join(others)}, which only new workers would hear"
        hint = "Select it in the settings and reload."
        raise PluginError(plugin.name, cause, origin=plugin.origin, hint=hint)
    return registry


def _tell_start(staff: Prepared, telemetry: Telemetry, version: str) -> None:
    settings, limit = staff.settings, staff.limit
    telemetry.emit(
        HOST_STARTING,
        name=settings.name,
        version=version,
        pid=os.getpid(),
        workers=settings.workers,
    )
    if names := ignored_variables():
        telemetry.emit(VARIABLES_IGNORED, names=", ".join(names))
    if limit < settings.limits.max_connections_per_worker:
        allowed = limit + RESERVED_DESCRIPTORS + len(staff.served)
        telemetry.emit(DESCRIPTORS_CAPPED, allowed=allowed, connections=limit)


def _listen(
    staff: Prepared, handed: Handover | None, inherited: list[socket.socket], failed: str
) -> tuple[list[ListeningSocket], str]:
    """Return the listeners, bound now or before, and why the generation cannot start, or ""."""
    if handed is None:
        return open_all(staff.served), failed
    taken: list[ListeningSocket] = []
    if not failed:
        try:
            taken = take_listeners(staff.served, handed.sockets, inherited)
        except ListenError as error:
            failed = str(error)
    used = {inherited[number] for number in handed.serving.sockets}
    used |= {listener.sock for listener in taken}
    for sock in set(inherited) - used:
        sock.close()
    return taken, failed


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
        LimitsError: there are more listeners than a notification can name.
    """
    listens = settings.listen or (Listen(address=DEFAULT_ADDRESS),)
    if len(listens) > MAX_LISTENERS:
        raise LimitsError(f"{len(listens)} listeners are too many: {MAX_LISTENERS} are possible")
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


def open_all(served: list[tuple[Listen, str]]) -> list[ListeningSocket]:
    """Bind all listeners, or none.

    Raises:
        ListenError: the machine refuses one of them.
    """
    sockets: list[ListeningSocket] = []
    try:
        for index, (listen, plugin) in enumerate(served):
            sockets.append(open_listener(listen, index, plugin))
    except BaseException:
        for listener in sockets:
            listener.close()
        raise
    return sockets


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


def profile_directory(loaded: Loaded) -> Path | None:
    """Return where profiles are written, which is made if need be; None if there are to be none.

    Raises:
        SettingsError: nothing can be written there.
    """
    key, directory = "profile.directory", loaded.settings.profile.directory
    if not directory:
        return None
    try:
        return recorder.prepare(directory, recorder.run_name())
    except (OSError, ValueError) as error:
        cause = getattr(error, "strerror", None) or str(error)
        message = f"cannot be written to: {cause}"
        where = f"from {loaded.origin(key)}"
        raise SettingsError([Problem(key, f'"{directory}"', message, where)]) from None


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
