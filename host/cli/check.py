"""The command `check`: what is wrong with the settings and the plugins."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import click

from host import settings
from host.cli import candidates
from host.cli.failing import fail, ignored
from host.cli.flags import Sources, with_sources
from host.errors import ExitCode, PluginError
from host.net import gates
from host.plugin.interference import Keeping
from host.plugin.loading import PluginErrors, load
from host.runtime import stacks, streams
from host.startup.broker import prepare_broker
from host.startup.essentials import do_essentials
from host.startup.last_words import last_words
from host.startup.ops_token import prepare_ops
from host.startup.pools import check_pools
from host.startup.prepare import (
    assign,
    check_owners,
    keep_certificates,
    load_certificates,
)
from host.startup.privileged import become, summary, wanted_account
from host.startup.trial import stand_ins, try_out
from host.text import counted


@click.command()
@with_sources
@click.argument("file", required=False, shell_complete=candidates.files)
@click.option(
    "--against-running",
    "running",
    metavar="[NAME]",
    is_flag=False,
    flag_value="",
    shell_complete=candidates.hosts,
    help="Also list what a reload of a running host would change. NAME: that in the settings.",
)
@click.option(
    "--connect",
    is_flag=True,
    help="Also try all that the bus does with the broker of bus.url.",
)
def check(sources: Sources, file: str | None, running: str | None, connect: bool) -> None:
    """Say ok, or everything that is wrong with the settings and plugins, a line each.

    Started by root it becomes the user of the settings before it loads plugins, as the host does.
    """
    try:
        loaded = sources.load(file)
    except settings.SettingsError as error:
        # The plugins can be looked at even so, but for their options.
        wrong = [*str(error).splitlines()[1:], *_wrong_plugins(error.selected)]
        fail(_counted(wrong), ExitCode.SETTINGS)
    try:
        becomes = summary(loaded)
        check_owners(loaded)
        wanted = wanted_account(loaded) if os.geteuid() == 0 else None
        # Before it becomes another user, who may not ask a host of root's.
        name = running or loaded.settings.name
        applied = None if running is None else _running(name)
        kept = None
        if wanted is not None:
            kept = keep_certificates(loaded, wanted)
            become(loaded, wanted)
        stacks.print_crash_to(2)
        with streams.lent(), last_words(), stand_ins() as own:
            registry = load(loaded, Keeping(own, do_essentials))
            served = assign(loaded.settings, registry)
            check_pools(loaded)
            try_out()
    except PluginError as error:
        fail(_counted(_lines(error)), ExitCode.PLUGIN)
    told = *_look_at_helpers(loaded, connect=connect), *_look_at_certificates(loaded, kept)
    for line in (*told, *ignored()):
        click.echo(f"host: {line}", err=True)
    click.echo("ok")
    if becomes:
        click.echo(becomes)
    names = [listen.address for listen, _ in served if listen.parsed.family == "fd"]
    if names:
        click.echo(f"not looked at, as they are passed to a host that starts: {', '.join(names)}")
    if not all(listen.parsed.is_local or listen.address in names for listen, _ in served):
        click.echo(_stop_promise(loaded.settings.lifecycle))
    if applied is not None:
        from host.cli.comparison import compared  # noqa: PLC0415  (as other modules)

        found = settings.render(loaded, registry.options)
        click.echo("\n".join(compared(name, applied, found)))


def _look_at_helpers(loaded: settings.Loaded, *, connect: bool) -> Iterator[str]:
    """Look at what processes beside the workers need; yield what a broker says that it is.

    Args:
        loaded: the settings.
        connect: whether to connect to it.

    Raises:
        SettingsError: something is missing, or the broker cannot be used.
    """
    prepare_ops(loaded)
    broker = prepare_broker(loaded)
    if broker is None or not connect:
        return
    import asyncio  # noqa: PLC0415  (which takes time)

    from host.bridge.link import LinkError  # noqa: PLC0415  (which may not be there)
    from host.bridge.trial import try_broker  # noqa: PLC0415

    try:
        yield f"the broker of bus.url is {asyncio.run(try_broker(broker))}"
    except LinkError as error:
        url = loaded.settings.bus.url
        cause = f"the broker cannot be used: {error}"
        origin = f"from {loaded.origin('bus.url')}"
        problem = settings.Problem("bus.url", f'"{url}"', cause, origin)
        raise settings.SettingsError([problem]) from None


def _running(name: str) -> list[settings.AppliedSetting]:
    from host.cli.comparison import running_settings  # noqa: PLC0415  (as other modules)

    return running_settings(name)


def _look_at_certificates(loaded: settings.Loaded, kept: int | None) -> Iterator[str]:
    """Yield a line for each certificate that should have been replaced, or that root alone reads.

    Raises:
        SettingsError: some cannot be used.
    """
    found, now = load_certificates(loaded, kept), time.time()
    if found is None:
        return
    for path in found.kept_paths:
        yield (
            f"{path} is read by root at the start, as {loaded.settings.process.user} may not read"
            " it: a new one takes a restart"
        )
    for name, number, each in found.all():
        if each.is_early(now) or each.expires_soon(now):
            yield f"tls.{name}.certificates[{number}]: the certificate {each.validity(now)}"


def _stop_promise(limits: settings.Lifecycle) -> str:
    """Return what a stop promises on this machine to clients that come over a network."""
    seconds = min(limits.quiet_seconds, limits.drain_timeout_seconds / 2)
    promise = f"a stop resets no client whose round trip is at most {seconds:g} s"
    cause = gates.why_no_filter()
    if not cause:
        return f"{promise}, also with SYN cookies and with a time to live of 255"
    return (
        f"{promise}, but for those with SYN cookies or a time to live of 255, since a filter of"
        f" SYNs is not allowed here: {cause} (CAP_NET_ADMIN would allow it)"
    )


def _wrong_plugins(selected: tuple[str, ...]) -> list[str]:
    try:
        load(settings.Loaded(settings.Settings(plugins=selected)))
    except PluginError as error:
        return _lines(error)
    except (settings.SettingsError, ValueError):  # options, or the selection itself: told already
        pass
    return []


def _counted(lines: list[str]) -> str:
    return "\n".join([counted(len(lines), "problem"), *lines, *ignored()])


def _lines(error: PluginError) -> list[str]:
    """Return a line for each thing that is wrong with plugins."""
    errors = error.errors if isinstance(error, PluginErrors) else (error,)
    return [
        f"  plugin {each.plugin}: "
        + "; ".join(filter(None, [each.where, *each.cause.splitlines(), each.hint]))
        for each in errors
    ]
