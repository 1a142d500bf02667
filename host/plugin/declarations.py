"""Reads what a plugin declares in `host_plugin`: its place among others, and whom it requires."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection, Mapping
from types import ModuleType
from typing import NamedTuple

from host.errors import PluginError
from host.plugin import requirements
from host.plugin.discovery import Source
from host.plugin.requirements import Requirement
from host.settings import nearest
from host.text import listed, shown, suggest

ATTRIBUTE = "host_plugin"
"""The name of a declaration, in a plugin's class or in its module."""
KEYS = ("after", "before", "requires")
_FORM = (
    'Write host_plugin = {"after": [NAME, ...], "before": [NAME, ...], "requires": [NAME, ...]}; '
    "each may be left out."
)


class Declaration(NamedTuple):
    """What a plugin declares.

    Attributes:
        after: plugins that are called before it, if they are selected.
        before: plugins that are called after it, if they are selected.
        requires: plugins that must be selected.
    """

    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    requires: tuple[Requirement, ...] = ()

    def as_dict(self) -> dict[str, list[str]]:
        """Return it as it is written, with every key."""
        lists = (self.after, self.before, [each.text for each in self.requires])
        return {key: list(names) for key, names in zip(KEYS, lists, strict=True)}

    def __str__(self) -> str:
        parts = self.as_dict().items()
        return "; ".join(f"{key} {listed(names)}" for key, names in parts if names)


def declared(source: Source, target: type | ModuleType) -> Declaration:
    """Return what a plugin declares: in its class, or beside the class in its module.

    Args:
        source: where the plugin came from.
        target: its class or module.

    Raises:
        PluginError: what it declares is not understood.
    """
    value = inspect.getattr_static(target, ATTRIBUTE, None)
    if value is None and isinstance(target, type):
        value = vars(sys.modules[target.__module__]).get(ATTRIBUTE)
    return Declaration() if value is None else parse(source, value)


def parse(source: Source, value: object) -> Declaration:
    """Return the declaration that a value of `host_plugin` is.

    Raises:
        PluginError: it is none.
    """
    if not isinstance(value, Mapping):
        raise _refusal(source, f"is no dictionary (it is: {type(value).__name__})")
    for key in value:
        if key not in KEYS:
            near = suggest(nearest(key, KEYS) if isinstance(key, str) else None)
            raise _refusal(source, f"has the unknown key {shown(key)}{near}")
    after, before, texts = (_names(source, key, value.get(key, ())) for key in KEYS)
    requires = tuple(_requirement(source, text) for text in texts)
    if source.name in {*after, *before, *(each.plugin for each in requires)}:
        raise _refusal(source, f'names the plugin itself: "{source.name}"')
    return Declaration(after, before, requires)


def _names(source: Source, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise _refusal(source, f'has no list of names in "{key}": {shown(value)}')
    return tuple(dict.fromkeys(each.strip() for each in value))


def _requirement(source: Source, text: str) -> Requirement:
    try:
        return requirements.parse(text)
    except ValueError:
        cause = f'requires "{text:.100}", which is not of the form {requirements.FORMS}'
        raise _refusal(source, cause) from None


def _refusal(source: Source, cause: str) -> PluginError:
    cause = f"{ATTRIBUTE} {cause}"
    return PluginError(source.name, cause, origin=source.origin, hint=_FORM, code="declaration")


def unmet(
    source: Source,
    declaration: Declaration,
    selected: Mapping[str, Source],
    installed: Collection[str],
) -> tuple[PluginError, ...]:
    """Return an error for each requirement of a plugin that is not met.

    Args:
        source: where the plugin came from.
        declaration: what it declares.
        selected: the plugins that are selected, by name.
        installed: the names of all that are installed.
    """
    wrong = (requirements.unmet(each, selected, installed) for each in declaration.requires)
    return tuple(
        PluginError(source.name, cause, origin=source.origin, hint=cure, code="requirement")
        for cause, cure in filter(None, wrong)
    )
