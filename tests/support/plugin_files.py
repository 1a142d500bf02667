"""Files of plugins, written into the folder that a test works in, and the loading of them."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest

from host.errors import PluginError
from host.plugin.loading import load
from host.plugin.registry import Registry
from host.settings import Loaded, Settings

ECHO = """
from host import hookimpl

class Echo:
    @hookimpl
    def on_readable(self, connection):
        connection.write(connection.read())
"""
HOOK = """
from host import hookimpl

@hookimpl
def on_accept(connection): ...
"""


def write(name: str, text: str) -> None:
    """Write a file."""
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)


def loaded(*plugins: str, **options: dict[str, Any]) -> Loaded:
    """Return settings that select these plugins, without the default scheduler.

    That one is an entry point of the installed host, which a test may replace.
    """
    settings = Settings(plugins=("no:round_robin",), options=options)
    return Loaded(settings.model_copy(update={"plugins": (*plugins, "no:round_robin")}))


def names(registry: Registry) -> list[str]:
    """Return the names of the plugins that were loaded."""
    return [plugin.name for plugin in registry.plugins]


def refusal(*plugins: str, **options: dict[str, Any]) -> str:
    """Return with which text these plugins are refused."""
    with pytest.raises(PluginError) as caught:
        load(loaded(*plugins, **options))
    return str(caught.value)


def load_text(text: str) -> Registry:
    """Load a plugin, chat.py, of this text: it begins in line 2, after the import of `hookimpl`."""
    write("chat.py", "from host import hookimpl\n" + dedent(text))
    return load(loaded("./chat.py"))


def refusal_of(text: str) -> str:
    """Return with which text a plugin is refused, which is written as by `load_text`."""
    with pytest.raises(PluginError) as caught:
        load_text(text)
    return str(caught.value)
