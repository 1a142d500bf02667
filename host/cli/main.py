"""The command line."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click
from click.shell_completion import CompletionItem

from host import settings
from host.cli import candidates, short_forms
from host.cli.advice import unknown_option
from host.cli.failing import fail, ignored
from host.cli.flags import Sources, with_sources
from host.cli.groups import SuggestingGroup
from host.cli.output import OutputError, checked, refuse
from host.control.commands import COMMANDS
from host.errors import ExitCode, HostError
from host.runtime import early_signals

DISTRIBUTION = "prefork"

_ELSEWHERE = {
    "check": ("host.cli.check", "check"),
    "settings": ("host.cli.effective", "show_settings"),
    "plugins": ("host.cli.plugins", "plugins"),
    "completion": ("host.cli.completion", "completion"),
    "new-plugin": ("host.cli.new_plugin", "new_plugin"),
    "simulate": ("host.cli.simulate", "simulate"),
    **dict.fromkeys((*COMMANDS, "top"), ("host.cli.operate", "OPERATIONS")),
}
"""The commands of other modules, imported when they are called: a host starts 20 ms earlier."""


SUMMARIES = {
    "check": "Say ok, or everything that is wrong with the settings and plugins, a line each.",
    "completion": "Print a script that completes `prefork` in a shell.",
    "new-plugin": "Write a package for the new plugin NAME: code, options, tests, README.",
    "plugins": "List the plugins that are installed or selected, without importing any of them.",
    "run": "Run the host until it is told to stop (SIGTERM, SIGINT).",
    "settings": "Print the effective settings and where each comes from.",
    "simulate": "Compare schedulers in simulated time, on the same arrivals.",
    "top": "Show the state of the host, again and again.",
}
"""What shells show beside the commands that are not in the table of commands to a running host."""


class _Group(SuggestingGroup):
    """A group that runs the host if no command is named, and imports commands as needed."""

    def main(self, *args: Any, **more: Any) -> Any:
        """Carry out what was typed; that its output cannot be written is a failure, too."""
        with checked():
            return super().main(*args, **more)

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """Read what was typed; `--help` and `--version` are carried out here."""
        try:
            return super().make_context(*args, **more)
        except OutputError as error:
            refuse(error)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *_ELSEWHERE, *short_forms.names()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, imported now if it is another module's."""
        place = _ELSEWHERE.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name) or short_forms.find(cmd_name, run)
        found = getattr(importlib.import_module(place[0]), place[1])
        commands = (found,) if isinstance(found, click.Command) else found
        return next((each for each in commands if each.name == cmd_name), None)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take a call that does not begin with a command for the command `run`."""
        if (not args and not ctx.resilient_parsing) or (
            args and args[0].startswith("-") and args[0] not in ("-h", "--help", "--version")
        ):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Return the commands, none of which is imported for it, and the options of `run`, too."""
        if incomplete.startswith("-"):
            own = super().shell_complete(ctx, incomplete)
            mine = {each.value for each in own}
            others = run.shell_complete(click.Context(run, ctx), incomplete)
            return own + [each for each in others if each.value not in mine]
        names = [each for each in self.list_commands(ctx) if each.startswith(incomplete)]
        known = {name: each.help for name, each in COMMANDS.items()} | SUMMARIES
        return [CompletionItem(each, help=known.get(each)) for each in names]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; what can only be a plugin or a file is told how to be given."""
        if not ctx.resilient_parsing and any(sign in args[0] for sign in "./:"):
            cure = "a plugin is selected with --plugin"
            if args[0].endswith(".toml"):
                cure = "a settings file is given with --config"
            ctx.fail(f'there is no command "{args[0]}": {cure} {args[0]}')
        found = super().resolve_command(ctx, args)
        # In a host, they wait until plugins are about to be loaded.
        if args[0] in _ELSEWHERE:
            early_signals.unblock()
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command; an error that has a culprit becomes one message and an exit code."""
        try:
            return super().invoke(ctx)
        except OutputError as error:
            refuse(error)
        except settings.SettingsError as error:
            fail("\n".join([str(error), *ignored()]), ExitCode.SETTINGS)
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
    shell_complete=candidates.files,
    help="Append a line about each connection to FILE, for `simulate --trace FILE`.",
)
@click.option(
    "--tls-keylog",
    metavar="FILE",
    default="",
    shell_complete=candidates.files,
    help="Append the keys of all TLS sessions to FILE, so that Wireshark can read them.",
)
def run(sources: Sources, record_trace: str | None, tls_keylog: str) -> None:
    """Run the host until it is told to stop (SIGTERM, SIGINT)."""
    from host.startup.launch import launch  # noqa: PLC0415  (which no other command needs)

    if record_trace is not None:
        sources = sources.recording(record_trace)
    sources = sources._replace(keylog=tls_keylog)
    code = launch(sources.load, VERSION)
    sys.exit(code)
