"""The command line."""

from __future__ import annotations

import importlib
import json
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn

import click

from host import settings
from host.cli.advice import unknown_option
from host.cli.flags import Sources, with_sources
from host.cli.groups import SuggestingGroup
from host.control.commands import COMMANDS
from host.errors import ExitCode, HostError, PluginError
from host.net import gates
from host.plugin.loading import PluginErrors, load
from host.runtime import early_signals, streams
from host.runtime.signals import ending
from host.startup.launch import launch
from host.startup.prepare import assign
from host.telemetry.events import VARIABLES_IGNORED
from host.text import counted

DISTRIBUTION = "prefork"


def fail(message: str, code: ExitCode) -> NoReturn:
    """Print a message and exit."""
    with ending(code), suppress(OSError):  # nobody takes it: the code says it, too
        click.echo(f"host: {message}", err=True)
    if not streams.flush():
        streams.forget()
    sys.exit(code)


def _ignored() -> list[str]:
    """Return a line that lists the variables which are ignored; none if there are none."""
    names = ", ".join(settings.ignored_variables())
    return [VARIABLES_IGNORED.sentence.format(names=names)] if names else []


_ELSEWHERE = {
    "plugins": ("host.cli.plugins", "plugins"),
    "new-plugin": ("host.cli.new_plugin", "new_plugin"),
    "simulate": ("host.cli.simulate", "simulate"),
    **dict.fromkeys((*COMMANDS, "top"), ("host.cli.operate", "OPERATIONS")),
}
"""The commands of other modules, imported when they are called: a host starts 20 ms earlier."""


class _Group(SuggestingGroup):
    """A group that runs the host if no command is named, and imports commands as needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *_ELSEWHERE})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now if it is another module's."""
        place = _ELSEWHERE.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        found = getattr(importlib.import_module(place[0]), place[1])
        commands = (found,) if isinstance(found, click.Command) else found
        return next((each for each in commands if each.name == cmd_name), None)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take a call that does not begin with a command for the command `run`."""
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help", "--version")):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; what can only be a plugin is told how to be selected."""
        if any(sign in args[0] for sign in "./:"):
            ctx.fail(
                f'there is no command "{args[0]}": a plugin is selected with --plugin {args[0]}'
            )
        found = super().resolve_command(ctx, args)
        if args[0] != "run":  # in a host, they wait until plugins are about to be loaded
            early_signals.unblock()
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command; an error that has a culprit becomes one message and an exit code."""
        try:
            return super().invoke(ctx)
        except settings.SettingsError as error:
            fail("\n".join([str(error), *_ignored()]), ExitCode.SETTINGS)
        except HostError as error:
            fail(str(error), error.exit_code)
        except click.NoSuchOption as error:
            raise unknown_option(error) from None


def _installed_version() -> str:
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "(not installed)"


VERSION = _installed_version()
"""That of the installed distribution."""


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name=DISTRIBUTION)
def main() -> None:
    """Serve any protocol with supervised worker processes; plugins hold all policy.

    Without a command the host runs: `--plugin echo` is the same as `run --plugin echo`. Flags
    override environment variables (PREFORK_...), these the settings file, this the preset.
    """


@main.command()
@with_sources
@click.option(
    "--record-trace",
    metavar="FILE",
    help="Append a line about each connection to FILE, for `simulate --trace FILE`.",
)
def run(sources: Sources, record_trace: str | None) -> None:
    """Run the host until it is told to stop (SIGTERM, SIGINT)."""
    if record_trace is not None:
        sources = sources.recording(record_trace)
    code = launch(sources.load, VERSION)
    sys.exit(code)


@main.command()
@with_sources
@click.argument("file", required=False)
@click.option(
    "--against-running",
    "running",
    metavar="[NAME]",
    is_flag=False,
    flag_value="",
    help="Also list what a reload of a running host would change. NAME: that in the settings.",
)
def check(sources: Sources, file: str | None, running: str | None) -> None:
    """Say ok, or everything that is wrong with the settings and plugins, a line each."""
    try:
        loaded = sources.load(file)
    except settings.SettingsError as error:
        # The plugins can be looked at even so, but for their options.
        wrong = [*str(error).splitlines()[1:], *_wrong_plugins(error.selected)]
        fail(_counted(wrong), ExitCode.SETTINGS)
    try:
        registry = load(loaded)
        served = assign(loaded.settings, registry)
    except PluginError as error:
        fail(_counted(_lines(error)), ExitCode.PLUGIN)
    for line in _ignored():
        click.echo(f"host: {line}", err=True)
    click.echo("ok")
    if not all(listen.parsed.is_local for listen, _ in served):
        click.echo(_stop_promise(loaded.settings.lifecycle))
    if running is not None:
        from host.cli.comparison import against_running  # noqa: PLC0415  (as other modules)

        name = running or loaded.settings.name
        click.echo("\n".join(against_running(name, settings.render(loaded, registry.options))))


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
    return "\n".join([counted(len(lines), "problem"), *lines, *_ignored()])


def _lines(error: PluginError) -> list[str]:
    """Return a line for each thing that is wrong with plugins."""
    errors = error.errors if isinstance(error, PluginErrors) else (error,)
    return [
        f"  plugin {each.plugin}: "
        + "; ".join(filter(None, [each.where, *each.cause.splitlines(), each.hint]))
        for each in errors
    ]


@main.command("settings")
@with_sources
@click.argument("what", type=click.Choice(["schema", "presets"]), required=False)
def show_settings(sources: Sources, what: str | None) -> None:
    """Print the effective settings and where each comes from.

    `settings schema` prints the JSON Schema of the settings file, `settings presets` the presets.
    """
    if what == "presets":
        click.echo("\n".join(settings.preset_names()))
        return
    loaded = sources.load()
    registry = load(loaded)
    if what == "schema":
        models = {
            plugin.name: plugin.options_model
            for plugin in registry.plugins
            if plugin.options_model is not None
        }
        click.echo(json.dumps(settings.schema(models), indent=2))
        return
    click.echo(settings.render_text(settings.render(loaded, registry.options)), nl=False)
