"""Composition: turns validated settings into a running host."""

from __future__ import annotations

import dataclasses
import functools
import os
import socket
import traceback
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from host.errors import ExitCode, HostError, Interrupted, PluginError
from host.hookspecs import TABLE, Process
from host.ipc.assignment import Assignment
from host.net.listeners import ListeningSocket
from host.plugin.importing import file_modules
from host.plugin.interference import LEAVE_ALONE, Keeping
from host.plugin.loading import load, load_in_steps
from host.plugin.registry import Registry
from host.profiling.recorder import Recorder, collect, run_name
from host.profiling.report import summarize
from host.runtime import descriptors, forks, lineage, processes, streams
from host.runtime.scheduling import BatchScheduling
from host.runtime.signals import Signals, ending
from host.runtime.steps import Steps
from host.settings import Loaded, Settings, SettingsError
from host.startup.announcing import tell_opened, tell_start
from host.startup.essentials import do_essentials
from host.startup.given import Given, given_to_this_process
from host.startup.helpers import runs_bridge, runs_ops
from host.startup.last_words import last_words
from host.startup.listening import assign_listeners, open_control, open_or_take
from host.startup.log import HostLog
from host.startup.ops import open_or_take_ops
from host.startup.prepare import (
    Prepared,
    prepare,
    prepare_none,
    prepare_uninterrupted,
)
from host.startup.privileged import Opened, open_and_become, wanted_account
from host.startup.rehearsal import rehearse, rehearse_again
from host.startup.trial import try_elsewhere
from host.startup.umask import set_umask, setting_umask
from host.supervisor.dependencies import Dependencies
from host.supervisor.process import Supervisor
from host.supervisor.reload.handover import Handover, is_rehearsal
from host.supervisor.reload.sockets import bound_before
from host.telemetry.emitter import Telemetry
from host.telemetry.events import (
    HOST_BUG,
    HOST_STOPPED,
    KEYS_LOGGED,
)
from host.text import in_words, stack_of, told_with_place
from host.worker import process
from host.worker.access import some_are_asked

_SUPERVISORS = {row.name for row in TABLE if row.process is Process.SUPERVISOR}


def launch(load_settings: Callable[[], Loaded], version: str) -> ExitCode:
    """Run a host until it is told to stop; return the exit code.

    In a process that tries a reload it only says what the settings ask for. In one that was
    re-executed by a reload it takes over from the process before.

    Raises:
        SettingsError, PluginError, ListenError, LimitsError: it cannot start; nothing is left
            behind.
    """
    if is_rehearsal():
        return rehearse(load_settings)
    with closing(Signals()) as signals:
        try:
            code = _launch(load_settings, version, signals)
        except Interrupted:
            return ExitCode.OK
        if not streams.flush():
            streams.forget()  # or the interpreter would wait, and end with another code
        return code


def _launch(load_settings: Callable[[], Loaded], version: str, signals: Signals) -> ExitCode:
    """Run a host; signals are noted already.

    Raises:
        Interrupted: it is told to stop before anything is opened.
    """
    inherited = descriptors.opened()
    given = given_to_this_process()
    handed = given.handed
    lineage.begin(handed.lineage if handed else None)
    with HostLog(handed) as log, last_words(log.tell_last_words), given.telling_failure():
        if handed is not None:
            _keep_from_others(handed.kept)
            prepared, failed = _prepare_again(load_settings, handed, given, log, signals)
            return _run(prepared, version, given, failed, log, signals)
        with signals.interrupting(), ExitStack() as unused:
            loaded, opened = setting_umask(load_settings, given.origin)(), None
            wanted = wanted_account(loaded)
            log.begin(loaded, wanted)
            _allow(loaded.settings, log, signals)
            if wanted is not None:
                opened = open_and_become(loaded, wanted, given, log.telemetry)
                unused.callback(opened.close)
                given = given._replace(kept=opened.kept)
            _keep_from_others(given.kept)
            own = descriptors.opened() - inherited | given.sockets
            prepared = prepare(loaded, given.kept, Keeping(own, do_essentials))
            given = given._replace(foreign=frozenset(descriptors.opened() - own))
            unused.pop_all()
        try:
            return _run(prepared, version, given, "", log, signals, opened)
        except (HostError, SettingsError):
            raise
        except Exception as error:
            return _tell_unexpected(error, log)


def _allow(settings: Settings, log: HostLog, signals: Signals) -> None:
    """Give plugins that are interrupted the time of a stop; then the log has how the host ends."""
    signals.allow(
        settings.lifecycle.drain_timeout_seconds,
        lambda: _tell_end(ExitCode.CUT_SHORT, log.telemetry),
    )


def _prepare_again(
    load_settings: Callable[[], Loaded],
    handed: Handover,
    given: Given,
    log: HostLog,
    signals: Signals,
) -> tuple[Prepared, str]:
    """Return what to run with after an exec, and why that is not what settings ask for, or "".

    What was tried a moment ago may not load any more. The workers that there are serve on then, as
    they were set up: they must not lose their supervisor.
    """
    set_umask(handed.settings_before, given.origin)
    _allow(handed.settings_before, log, signals)
    load = setting_umask(load_settings, given.origin)
    try:
        with signals.interrupting():
            failed = rehearse_again(load, handed)
    except Interrupted as stop:
        failed = str(stop)
    log.begin(Loaded(handed.settings_before))
    if not failed:
        try:
            with signals.interrupting():
                prepared = prepare_uninterrupted(load, handed.kept)
            mine, before = prepared.settings, handed.settings_before
            changes = mine.process.change_since(before.process), mine.bus.change_since(before.bus)
            if cause := next(filter(None, changes), ""):
                raise HostError(cause)
            log.change(prepared.settings)
            return prepared, ""
        except (HostError, SettingsError, Interrupted) as error:
            failed = str(error)
        except Exception as error:
            failed = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    set_umask(handed.settings_before, given.origin)
    return prepare_none(handed), failed


def _run(
    prepared: Prepared,
    version: str,
    given: Given,
    failed: str,
    host_log: HostLog,
    signals: Signals,
    opened: Opened | None = None,
) -> ExitCode:
    handed, telemetry = given.handed, host_log.telemetry
    host_log.capture.owners = prepared.registry.owners
    given = given.keeping(listen for listen, _ in prepared.served)
    inherited = bound_before(handed.sockets) if handed else []
    opened, failed = _open(prepared, given, inherited, failed, telemetry, opened)
    if handed is None:
        tell_start(prepared, telemetry, version)
    tell_opened(opened, given, inherited, failed, telemetry)
    run = run_name() if prepared.profile else ""
    recorder = Recorder(prepared.profile, run) if prepared.profile else None
    _keep_keys(prepared, telemetry)
    dependencies = Dependencies(
        prepared.registry,
        telemetry,
        host_log.writer,
        signals,
        version,
        run_worker=_worker_of(prepared, given, host_log, recorder),
        load_scheduler=functools.partial(_load_scheduler, prepared, telemetry),
        max_connections=prepared.limit,
        batch=BatchScheduling(),
        applied=prepared.applied,
        origin=given.origin,
        passed=given.passed,
        notifier=given.notifier,
        stored=given.stored_inodes,
        control=opened.control,
        handed=handed,
        inherited=inherited,
        failed=failed,
        tls=prepared.tls,
        ops=opened.ops,
        run_ops=runs_ops(prepared, given, host_log),
        run_bridge=runs_bridge(prepared, given, host_log),
        kept=given.kept,
        timed=recorder.timed if recorder else None,
        keeping=functools.partial(_keeping, given),
        owner=lambda error: host_log.capture.place_of(error)[0],
    )
    code = _supervise(prepared.settings, opened.listeners, dependencies, host_log)
    _end(prepared.profile, run, host_log, code)
    return code


def _keeping(given: Given) -> Keeping:
    """Return what plugins must leave alone as the host starts.

    After an exec nobody knows any more which descriptors are the host's alone.
    """
    own = descriptors.opened() - given.foreign if given.handed is None else ()
    return Keeping(own, do_essentials)


def _open(
    prepared: Prepared,
    given: Given,
    inherited: list[socket.socket],
    failed: str,
    telemetry: Telemetry,
    opened: Opened | None,
) -> tuple[Opened, str]:
    """Open what the host listens on, or take it; return it, and why it cannot all be had, or "".

    What was opened already, by root for the user that the host is now, is taken as it is.

    Raises:
        ListenError: the machine refuses an address, and there was no supervisor before.
    """
    if opened is not None:
        assign_listeners(prepared.served, opened.listeners)
        return opened, failed
    settings, handed, passed = prepared.settings, given.handed, given.passed
    listeners, failed = open_or_take(prepared, handed, inherited, failed, passed, given.stored)
    control = open_control(settings, telemetry, handed)
    ops, failed = open_or_take_ops(settings, handed, passed, failed, listeners)
    return Opened(listeners, control, ops, given.kept), failed


def _worker_of(
    prepared: Prepared, given: Given, host_log: HostLog, recorder: Recorder | None
) -> Callable[[Assignment], int]:
    """Return what a worker does in its process."""
    settings, registry = prepared.settings, prepared.registry
    log, telemetry, capture = host_log.writer, host_log.telemetry, host_log.capture
    make_pools = None
    # What a host does not use it does not import, and nothing is imported after the start.
    if any(listen.parsed.is_udp for listen, _ in prepared.served):
        import host.worker.datagram_setup  # noqa: PLC0415
    if prepared.tls is not None or some_are_asked(settings):
        import host.worker.admission  # noqa: F401, PLC0415
    if settings.pools:
        from host.offload.pools import MakePools  # noqa: PLC0415

        make_pools = MakePools(settings.pools, file_modules())

    def run_worker(assignment: Assignment) -> int:
        capture.forget()
        given.close_kept()
        forks.close_in_plugin_fork(capture.end_in_fork)
        try:
            mine = assignment._replace(tls=prepared.tls)
            return process.run(mine, settings, registry, telemetry, log, recorder, make_pools)
        except Exception as error:
            return tell_bug(error, telemetry)
        finally:
            capture.end()
            log.close()

    return run_worker


def _keep_from_others(kept: int | None) -> None:
    """Keep what root has read from processes that a plugin forks, and from all other ones."""
    if kept is not None:
        processes.hide_memory()
        forks.close_in_plugin_fork(functools.partial(os.close, kept))


def _keep_keys(prepared: Prepared, telemetry: Telemetry) -> None:
    """Keep what has keys in it from others, and tell if they are written to a file."""
    if prepared.tls is None:
        return
    processes.hide_memory()
    if prepared.loaded.keylog:
        telemetry.emit(KEYS_LOGGED, file=prepared.loaded.keylog)


def _supervise(
    settings: Settings,
    sockets: list[ListeningSocket],
    dependencies: Dependencies,
    host_log: HostLog,
) -> ExitCode:
    try:
        return Supervisor(settings, sockets, dependencies).run()
    except HostError:
        raise
    except Exception as error:
        return _tell_unexpected(error, host_log)


def _tell_unexpected(error: Exception, host_log: HostLog) -> ExitCode:
    """Tell of an error that is no plugin's answer to a hook; return the exit code that says so.

    Raises:
        PluginError: code of a plugin has raised it, which it has put where the host calls it: in
            the place of a function of somebody else, or as an audit hook.
    """
    plugin, _ = host_log.capture.place_of(error)
    if plugin is None:
        return tell_bug(error, host_log.telemetry)
    raise PluginError(
        plugin,
        f"its code is called where the host does not call plugins: {told_with_place(error)}",
        hint=LEAVE_ALONE,
    ) from error


def _end(profile: Path | None, run: str, host_log: HostLog, code: ExitCode) -> None:
    """Tell how the host has ended, and print what its workers have measured, if they were to."""
    _tell_end(code, host_log.telemetry)
    host_log.end()
    if profile:
        _print(summarize(*collect(profile, run), profile), code)


def _print(text: str, code: ExitCode) -> None:
    """Print to standard output, if somebody takes it; a signal ends the host with this code."""
    with ending(code), suppress(OSError), open(1, "wb", closefd=False) as output:
        output.write(text.encode(errors="backslashreplace"))


def _load_scheduler(prepared: Prepared, telemetry: Telemetry, name: str) -> Steps[Registry]:
    """Load one scheduler plugin into a running supervisor, with its options from the settings.

    That is done in steps, since the supervisor has other things to do meanwhile.

    Args:
        prepared: what the host runs with; the options of its plugins are not this one's.
        telemetry: told of what the plugin prints.
        name: the plugin, as it is selected.

    Raises:
        PluginError: it cannot be loaded, is no scheduler, or has to do with connections as well.
        HostError: it has failed, or broken something, in the process where it was tried first.
    """
    if name.startswith("no:"):
        raise PluginError(name, "that leaves a plugin out, and chooses none")
    loaded = prepared.loaded
    selected = [each.name for each in prepared.registry.plugins]
    sections = loaded.settings.options.items()
    options = {key: section for key, section in sections if key == name or key not in selected}
    settings = loaded.settings.model_copy(update={"plugins": (name,), "options": options})
    wanted = dataclasses.replace(loaded, settings=settings)
    try_elsewhere(functools.partial(_load_silently, wanted, telemetry))
    yield
    try:
        registry = yield from load_in_steps(wanted, Keeping((), do_essentials))
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


def _load_silently(loaded: Loaded, telemetry: Telemetry) -> None:
    """Load plugins in a process that only tries them: what they print is told by another one."""
    telemetry.silence()
    with last_words():
        load(loaded, Keeping(descriptors.opened(), do_essentials))


def _tell_end(code: ExitCode, telemetry: Telemetry) -> None:
    telemetry.emit(HOST_STOPPED, code=int(code), meaning=code.description)


def tell_bug(error: Exception, telemetry: Telemetry) -> ExitCode:
    """Tell of an error that nobody expected; return the exit code that says so."""
    telemetry.emit(HOST_BUG, error=in_words(error), traceback=stack_of(error))
    return ExitCode.BUG
