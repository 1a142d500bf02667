"""Commands that other distributions bring: short forms of `run`, such as `asgi module:app`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from host.errors import PluginError

GROUP = "host.commands"
"""The entry-point group of these commands: each is a click command that returns flags of `run`."""


def names() -> list[str]:
    """Return the names of all that are installed; none is imported."""
    return sorted({each.name for each in entry_points(group=GROUP)})


def find(name: str, run: click.Command) -> click.Command | None:
    """Return the command of a name, which takes the flags of `run`, too; None if there is none.

    Raises:
        PluginError: it cannot be imported, or is no click command.
    """
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            return _expanding(_imported(entry), run)
    return None


def _imported(entry: EntryPoint) -> click.Command:
    origin = f"entry point {entry.value}"
    module, _, attribute = entry.value.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise PluginError(
            entry.name, f"the command cannot be imported: {error}", origin=origin
        ) from (error)
    if not isinstance(found, click.Command) or found.callback is None:
        raise PluginError(entry.name, "the command is no click command", origin=origin)
    return found


def _expanding(short: click.Command, run: click.Command) -> click.Command:
    """Return a command with the parameters of both; what `short` returns is said first."""
    own = [each.name or "" for each in short.params]
    expand, call = short.callback, run.callback
    assert expand is not None
    assert call is not None
    return click.Command(
        short.name,
        params=[*short.params, *run.params],
        callback=_calling(own, expand, call, run),
        help=short.help,
        epilog=short.epilog,
        short_help=short.short_help,
    )


def _calling(
    own: list[str],
    expand: Callable[..., list[str]],
    call: Callable[..., object],
    run: click.Command,
) -> Callable[..., object]:
    def callback(**values: Any) -> object:
        flags = expand(**{name: values.pop(name) for name in own})
        said = run.make_context("run", list(flags)).params
        for name, value in values.items():
            if isinstance(value, tuple):
                said[name] = (*said[name], *value)
            elif value is not None:
                said[name] = value
        return call(**said)

    return callback
