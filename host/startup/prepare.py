"""What settings ask for, before anything is opened or started: plugins, listeners, limits."""

from __future__ import annotations

import errno
import functools
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from host.errors import HostError, Interrupted, LimitsError
from host.ipc.client_counts import ClientCounts
from host.ipc.protocol import MAX_LISTENERS
from host.plugin.interference import NOTHING, Keeping
from host.plugin.loading import load, load_none
from host.plugin.registry import Registry
from host.profiling import recorder
from host.runtime import forks
from host.runtime.accounts import Account, AccountError, find_group, find_user
from host.settings import AppliedSetting, Listen, Loaded, Problem, Settings, SettingsError, render
from host.startup.broker import prepare_broker
from host.startup.limits import max_connections, pool_descriptors
from host.startup.ops_token import prepare_ops
from host.startup.pools import check_pools
from host.supervisor.reload.handover import Handover
from host.text import reason

if TYPE_CHECKING:
    from pydantic import SecretStr

    from host.bus.broker import BrokerSettings
    from host.tls.tables import TlsContexts


class Prepared(NamedTuple):
    """What a host is to run with.

    Attributes:
        loaded: its settings.
        registry: its plugins.
        served: what it listens on, each with the plugin that serves it.
        limit: how many connections a worker may hold.
        profile: where its workers write what they have measured, if they shall.
        applied: returns its settings as people see them: key, value, and where that came from.
        tls: its certificates, if there are tables [tls.NAME].
        ops_token: what `prepare_ops` has returned.
        broker: what `prepare_broker` has returned.
    """

    loaded: Loaded
    registry: Registry
    served: list[tuple[Listen, str]]
    limit: int
    profile: Path | None
    applied: Callable[[], list[AppliedSetting]]
    tls: TlsContexts | None = None
    ops_token: SecretStr | None = None
    broker: BrokerSettings | None = None

    @property
    def settings(self) -> Settings:
        """The settings alone."""
        return self.loaded.settings


def prepare(loaded: Loaded, kept: int | None = None, keeping: Keeping = NOTHING) -> Prepared:
    """Load the plugins that settings select, and find out what they are to serve.

    Args:
        loaded: the settings.
        kept: see `load_certificates`.
        keeping: what plugins must leave alone, and how to see whether they have.
    """
    settings = loaded.settings
    try:
        registry = load(loaded, keeping)
    finally:
        forks.exit_if_plugin_fork()
    served = assign(settings, registry)
    check_owners(loaded)
    others = count_sockets(served) + pool_descriptors(settings.pools)
    limit = max_connections(settings.limits, others)
    if settings.counts_clients:
        ClientCounts().close()  # a reload must not find out after the exec that there is no room
    check_log_file(loaded)
    check_pools(loaded)
    shown = functools.partial(render, loaded, registry.options)
    tls = load_certificates(loaded, kept)
    import_for_workers(tls)
    profile, token = profile_directory(loaded), prepare_ops(loaded)
    broker = prepare_broker(loaded)
    return Prepared(loaded, registry, served, limit, profile, shown, tls, token, broker)


def prepare_uninterrupted(load_settings: Callable[[], Loaded], kept: int | None = None) -> Prepared:
    """Load settings and plugins where nobody is there to interrupt: if a plugin does, it fails.

    Args:
        load_settings: loads the settings.
        kept: see `load_certificates`.

    Raises:
        Interrupted: the host is told to stop; as it is raised by a signal, it is no plugin's.
    """
    try:
        return prepare(load_settings(), kept)
    except Interrupted:
        raise
    except KeyboardInterrupt as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{last.filename}:{last.lineno}"
        raise HostError(
            f"KeyboardInterrupt was raised while plugins were loaded: {place}"
        ) from None


def prepare_none(handed: Handover) -> Prepared:
    """Return what a host runs with that only looks after the workers it has, as it did so far.

    Args:
        handed: what was handed over.
    """
    loaded, profile = Loaded(handed.settings_before), None
    with suppress(SettingsError):  # what the workers write there is still collected, if it can be
        profile = profile_directory(loaded)
    limit, shown = handed.max_connections, lambda: handed.applied_before
    tls = None
    with suppress(SettingsError):  # or new ones would wait until a reload goes well
        tls = load_certificates(loaded, handed.kept)
    token = None
    with suppress(SettingsError):  # or nothing is shown: never without a token that was asked for
        token = prepare_ops(loaded)
    broker = None
    with suppress(SettingsError):  # or workers wait for a broker until a reload goes well
        broker = prepare_broker(loaded)
    return Prepared(loaded, load_none(), [], limit, profile, shown, tls, token, broker)


def listens(settings: Settings) -> tuple[Listen, ...]:
    """Return what to listen on.

    Raises:
        LimitsError: there are more listeners than a notification can name.
    """
    found = settings.listens
    if len(found) > MAX_LISTENERS:
        raise LimitsError(f"{len(found)} listeners are too many: {MAX_LISTENERS} are possible")
    return found


def assign(settings: Settings, registry: Registry) -> list[tuple[Listen, str]]:
    """Return what to listen on, each with the name of the plugin that serves it.

    Raises:
        PluginError: a listener's plugin is not selected, or cannot serve it.
        SettingsError: no plugin, or not just one, could serve a listener.
        LimitsError: there are more listeners than a notification can name.
    """
    served = []
    for number, listen in enumerate(listens(settings)):
        place = f"listen[{number}] ({listen.address})"
        hook = "on_datagram" if listen.parsed.is_udp else "on_readable"
        fitting = registry.serving(hook)
        for protocol, plugin in listen.alpn.items():
            registry.protocol(plugin, hook, f'{place}, for "{protocol}" of alpn,')
        if listen.plugin is not None:
            served.append((listen, registry.protocol(listen.plugin, hook, place).name))
        elif len(fitting) == 1:
            served.append((listen, fitting[0]))
        else:
            raise _nobody_serves(listen, registry, fitting)
    return served


def import_for_workers(tls: TlsContexts | None) -> None:
    """Import what workers need that only some hosts have: later there might be other code.

    Args:
        tls: the certificates, if there are any.
    """
    if tls is not None:
        importlib.import_module("host.worker.tls_setup")
    if "asyncio" in sys.modules:  # a plugin has imported it, and may ask for worker.asyncio
        importlib.import_module("host.asyncio.event_loop")


def load_certificates(loaded: Loaded, kept: int | None = None) -> TlsContexts | None:
    """Read and try all certificates; None if there are none.

    Args:
        loaded: the settings.
        kept: the descriptor of what root has read of them (`keep_files`); it stays the caller's.

    Raises:
        SettingsError: some cannot be used.
    """
    if not loaded.settings.tls:
        return None
    # ssl takes 10 ms and 3 MB to import.
    from host.tls.tables import load_tables  # noqa: PLC0415

    return load_tables(loaded, kept)


def keep_certificates(loaded: Loaded, wanted: Account) -> int | None:
    """Read as root what that user may not read of the certificates; None if there is nothing.

    Returns:
        What is kept, for `load_certificates`; the caller closes it.

    Raises:
        SettingsError: some cannot be read.
    """
    if not loaded.settings.tls:
        return None
    from host.tls.tables import keep_files  # noqa: PLC0415  (as above)

    return keep_files(loaded, wanted)


def count_sockets(served: Iterable[tuple[Listen, str]]) -> int:
    """Return how many sockets it takes to listen."""
    return sum(listen.shards if listen.parsed.is_udp else 1 for listen, _ in served)


def _nobody_serves(listen: Listen, registry: Registry, fitting: Sequence[str]) -> SettingsError:
    if not fitting:
        names = ", ".join(plugin.name for plugin in registry.plugins) or "none"
        lack = "answers datagrams (on_datagram)" if listen.parsed.is_udp else "is a protocol"
        message = (
            f"none of the selected plugins ({names}) {lack}, so nobody serves "
            f"{listen.address}: select one, for example --plugin echo"
        )
        return SettingsError([Problem("plugins", "", message, "")])
    names = ", ".join(fitting)
    message = (
        f"several of the selected plugins could serve {listen.address} ({names}): say which one, "
        f"for example {listen.address}={fitting[0]}"
    )
    return SettingsError([Problem("listen", "", message, "")])


def check_owners(loaded: Loaded) -> None:
    """Check that there are the users and groups whose socket files shall be.

    Raises:
        SettingsError: this machine does not know one of them.
    """
    problems = []
    for number, listen in enumerate(loaded.settings.listen):
        for field, value, find in (
            ("owner", listen.owner, find_user),
            ("group", listen.group, find_group),
        ):
            try:
                if value:
                    find(value)
            except AccountError as error:
                key = f"listen[{number}].{field}"
                where = f"from {loaded.origin(key)}"
                problems.append(Problem(key, f'"{value}"', str(error), where))
    if problems:
        raise SettingsError(problems)


def check_log_file(loaded: Loaded) -> None:
    """Check that the log file can be opened, and make nothing: this may be another user's check.

    Raises:
        SettingsError: it cannot, as far as permissions tell (access(2)).
    """
    path = loaded.settings.log.file
    if not path:
        return
    folder, cause, who = os.path.dirname(path) or ".", "", f"uid {os.geteuid()}"
    if "\0" in path:
        cause = "it is no path"
    elif os.path.isdir(path):
        cause = os.strerror(errno.EISDIR)
    elif os.path.lexists(path):
        if not os.access(path, os.W_OK, effective_ids=True):
            cause = f"it may not be written to by {who}"
    elif not os.path.isdir(folder):
        cause = f"there is no folder {folder}"
    elif not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        cause = f"{folder} may not be written to by {who}"
    if cause:
        raise unusable_path(loaded, "log.file", path, cause)


def unusable_path(loaded: Loaded, key: str, path: str, cause: str) -> SettingsError:
    """Return the error that says why nothing can be written where a setting says."""
    where = f"from {loaded.origin(key)}"
    return SettingsError([Problem(key, f'"{path}"', f"cannot be written to: {cause}", where)])


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
        raise unusable_path(loaded, key, directory, reason(error)) from None
