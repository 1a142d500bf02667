"""The command `plugins`: which there are, and in which order they are called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import click

from host import settings
from host.cli import candidates
from host.cli.doctor import doctor
from host.cli.flags import Sources, with_sources
from host.cli.groups import SuggestingGroup
from host.hookspecs import ROWS, Audience
from host.plugin.binding import Implementation
from host.plugin.catalog import catalog
from host.plugin.loading import load
from host.plugin.registry import Registry
from host.text import aligned, suggest


class Chain(NamedTuple):
    """Who is called for a hook, in order.

    Attributes:
        title: for what.
        protocol: the plugin of the listeners that it is for, or None if it is for all.
        calls: the implementations.
    """

    title: str
    protocol: str | None
    calls: tuple[Implementation, ...]


@click.group(cls=SuggestingGroup, invoke_without_command=True)
@with_sources
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plugins(sources: Sources, as_json: bool) -> None:
    """List the plugins that are installed or selected, without importing any of them.

    `plugins order HOOK` shows in which order they are called, `plugins doctor` what is wrong.
    """
    command = click.get_current_context().invoked_subcommand
    if command is not None:
        if sources != Sources(None, None, {}) or as_json:
            raise click.UsageError(f"flags come after the command: plugins {command} --plugin ...")
        return
    entries = catalog(sources.load().settings.plugins)
    if as_json:
        click.echo(json.dumps([entry.as_dict() for entry in entries], indent=2))
        return
    table = [("NAME", "SELECTED", "DISTRIBUTION", "ORIGIN", "IMPLEMENTS", "DECLARES")]
    for entry in entries:
        found = "?" if entry.implements is None else ", ".join(entry.implements)
        selected = ("default" if entry.default else "yes") if entry.selected else "no"
        came_from = f"{entry.distribution} {entry.version}" if entry.distribution else "-"
        described = f"broken: {entry.error}" if entry.error else found
        declares = "?" if entry.declares is None else str(entry.declares) or "-"
        table.append((entry.name, selected, came_from, entry.origin, described, declares))
    shown = len(table[0]) - all(row[-1] == "-" for row in table[1:])
    click.echo(aligned([row[:shown] for row in table], text=range(shown)))


plugins.add_command(doctor)


@plugins.command()
@with_sources
@click.argument("hook", shell_complete=candidates.hooks)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def order(sources: Sources, hook: str, as_json: bool) -> None:
    """Load the selected plugins, and show in which order they are called for HOOK."""
    registry = load(sources.load())
    if hook not in registry.calls:
        near = suggest(settings.nearest(hook, registry.calls))
        raise click.UsageError(f'no hook is named "{hook}"{near}')
    chains = list(_chains(registry, hook))
    if as_json:
        click.echo(json.dumps([_as_dict(registry, chain) for chain in chains], indent=2))
        return
    click.echo("\n\n".join(_shown(registry, chain) for chain in chains))


def _chains(registry: Registry, hook: str) -> Iterator[Chain]:
    row = ROWS.get(hook)
    if row is None:
        title = f"{hook}, of which the plugin that brings it calls those that it chooses:"
        yield Chain(title, None, registry.calls[hook])
    elif row.audience in (Audience.LISTENER, Audience.PROTOCOL):
        for protocol in registry.protocols:
            title = f"{hook}, for the listeners of {protocol}:"
            yield Chain(title, protocol, tuple(registry.heard(hook, protocol)))
        if not registry.protocols:
            raise click.UsageError(f"{hook} is called for listeners, and no protocol is selected")
    else:
        yield Chain(f"{hook}:", None, registry.calls[hook])


def _shown(registry: Registry, chain: Chain) -> str:
    declarations = registry.order.declarations
    rows = [
        (str(number), each.plugin, _marks(each) or "-", str(declarations[each.plugin]) or "-")
        for number, each in enumerate(chain.calls, 1)
    ]
    if not rows:
        return f"{chain.title} no selected plugin has it"
    table = aligned([("", "PLUGIN", "MARKED", "DECLARES"), *rows], text=(1, 2, 3))
    return f"{chain.title}\n{table}"


def _as_dict(registry: Registry, chain: Chain) -> dict[str, Any]:
    calls = [
        {
            "plugin": each.plugin,
            "wrapper": each.wrapper,
            "tryfirst": each.tryfirst,
            "trylast": each.trylast,
            "declares": registry.order.declarations[each.plugin].as_dict(),
        }
        for each in chain.calls
    ]
    return {"protocol": chain.protocol, "calls": calls}


def _marks(each: Implementation) -> str:
    marks = {"wrapper": each.wrapper, "tryfirst": each.tryfirst, "trylast": each.trylast}
    return ", ".join(name for name, marked in marks.items() if marked)
