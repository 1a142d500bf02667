"""What may stand for a value on the command line, as shells complete it.

Each start of a host imports this module, so what only a shell asks for is imported when it asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import get_args

import click
from click.shell_completion import CompletionItem
from pydantic.fields import FieldInfo

from host.hookspecs import ROWS
from host.settings import Settings, preset_names
from host.settings.fields import leaves
from host.settings.places import alternatives

PART = "part"
"""The type of a candidate that something has to follow, and therefore no space."""

Items = list[CompletionItem[str]]
Complete = Callable[[click.Context, click.Parameter, str], Items]


def _fitting(names: Iterable[str], incomplete: str, kind: str = "plain") -> Items:
    return [CompletionItem(each, kind) for each in names if each.startswith(incomplete)]


def values_of(key: str) -> Complete:
    """Return a completion that offers the values of a setting that has a few."""
    return lambda _context, _parameter, incomplete: _fitting(_values(key), incomplete)


def files(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Have the shell offer files."""
    return [CompletionItem(incomplete, "file")]


def folders(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Have the shell offer folders."""
    return [CompletionItem(incomplete, "dir")]


def plugins(context: click.Context, parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the installed plugins, the default ones to be left out, and files."""
    from host.plugin.catalog import catalog  # noqa: PLC0415
    from host.plugin.loading import DEFAULTS  # noqa: PLC0415

    if "/" in incomplete or incomplete.startswith((".", "~")):
        return files(context, parameter, incomplete)
    names = dict.fromkeys(each.name for each in catalog())
    return _fitting([*names, *(f"no:{name}" for name in DEFAULTS)], incomplete)


def schedulers(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the installed plugins that choose workers."""
    return _fitting(_implementing("choose_worker"), incomplete)


def _implementing(hook: str) -> Sequence[str]:
    from host.plugin.catalog import catalog  # noqa: PLC0415

    return [each.name for each in catalog() if hook in (each.implements or ())]


def hooks(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the hooks of the host."""
    return _fitting(ROWS, incomplete)


def hosts(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the hosts that run."""
    from host.control.client import running  # noqa: PLC0415

    return _fitting(running(), incomplete)


def presets(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the settings that ship."""
    return _fitting(preset_names(), incomplete)


def addresses(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Offer how addresses begin, and after the "=" the protocols."""
    address, equals, _ = incomplete.rpartition("=")
    if equals:
        names = _implementing("on_datagram" if address.startswith("udp:") else "on_readable")
        return _fitting([f"{address}={name}" for name in names], incomplete)
    return _fitting(
        ["tcp://127.0.0.1:", "tcp://[::1]:", "udp://127.0.0.1:", "unix:/"], incomplete, PART
    )


def assignments(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> Items:
    """Offer the keys of the settings, and after the "=" the values of those that have a few."""
    key, equals, _ = incomplete.partition("=")
    if not equals:
        return _fitting([f"{each}=" for each in _fields()], incomplete, PART)
    return _fitting([f"{key}={value}" for value in _values(key)], incomplete)


def _fields() -> dict[str, FieldInfo]:
    return {".".join(map(str, path)): field for path, field in leaves(Settings)}


def _values(key: str) -> list[str]:
    field = _fields().get(key)
    kinds = alternatives(field.annotation) if field else ()
    choices = [("true", "false") if kind is bool else get_args(kind) for kind in kinds]
    return [each for some in choices for each in some if isinstance(each, str)]
