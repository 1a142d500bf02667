"""How a command to a running host becomes a command line: its arguments, options, and the host."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from host.cli import candidates, numbers, screen
from host.control.client import ask, bad_answer, default_name, running
from host.control.commands import COMMANDS, Argument

SECONDS = 10.0
"""How long a host may take for an answer, if nothing else is said."""

Part = str | screen.Table

_OPTIONS = (
    click.Option(
        ["--name", "host_name"],
        metavar="NAME",
        envvar="PREFORK_NAME",
        shell_complete=candidates.hosts,
        help="Name of the host. Default: $PREFORK_NAME, or the only one that runs, or prefork.",
    ),
    click.Option(["--json", "as_json"], is_flag=True, help="Print JSON."),
    click.Option(
        ["--timeout"],
        metavar="SECONDS",
        type=numbers.SECONDS,
        help="How long the host may take.",
    ),
)


@dataclass(frozen=True, slots=True)
class Target:
    """The host that is asked, and how its answer is shown.

    Attributes:
        name: its name.
        as_json: whether results are printed as JSON.
        timeout: how many seconds it may take, or None without --timeout.
    """

    name: str
    as_json: bool
    timeout: float | None

    def ask(self, command: str, timeout: float = SECONDS, **args: Any) -> dict[str, Any]:
        """Return the result of a command; `timeout` counts without --timeout."""
        return ask(self.name, command, args, self.timeout or timeout)

    def show(self, result: Mapping[str, Any], say: Callable[[], Iterable[Part]]) -> None:
        """Print a result as JSON if that was asked for, else what `say` makes of it."""
        if self.as_json:
            click.echo(json.dumps(result, indent=2))
        else:
            screen.show(say())


def command_line(
    name: str, arguments: tuple[Argument, ...], help: str, *more: click.Option
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function a command: it is called with the target, arguments and options."""

    def decorate(function: Callable[..., None]) -> click.Command:
        def run(host_name: str | None, as_json: bool, timeout: float | None, **args: Any) -> None:
            target = Target(host_name or default_name(running()), as_json, timeout)
            try:
                function(target, **args)
            # A part of the answer is missing, or is something else than it should be.
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise bad_answer(target.name) from error

        params = [*map(_parameter, arguments), *more, *_OPTIONS]
        return click.Command(name, callback=run, params=params, help=help)

    return decorate


def of_table(name: str, *more: click.Option) -> Callable[[Callable[..., None]], click.Command]:
    """Make a function the command of that name, as the table of commands has it."""
    command = COMMANDS[name]
    return command_line(name, command.arguments, command.help, *more)


def _parameter(argument: Argument) -> click.Parameter:
    kind: Any = argument.kind
    if argument.kind is int:
        kind = click.IntRange(argument.low, argument.high)
    elif argument.choices:
        kind = click.Choice(argument.choices)
    if argument.required or argument.by_place:
        offered = candidates.schedulers if argument.name == "name" else None
        return click.Argument(
            [argument.name], type=kind, required=argument.required, shell_complete=offered
        )
    return click.Option(
        [f"--{argument.name}"],
        type=kind,
        is_flag=argument.kind is bool,
        default=argument.default,
        show_default=argument.kind is not bool and not argument.optional,
        help=argument.help,
    )
