"""Shipped plugins are found as anyone's are, and need nothing but the host's public names."""

import ast
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import host
import host.asyncio
from host import plugins
from host.plugin.catalog import catalog
from host.plugin.loading import DEFAULTS, load
from host.settings import Loaded, Settings

SHIPPED = sorted(
    entry.name for entry in entry_points(group="host.plugins") if entry.dist.name == "prefork"
)
FOLDER = Path(plugins.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))
PUBLIC = {f"host.{name}" for name in host.__all__}
PUBLIC |= {f"host.asyncio.{name}" for name in host.asyncio.__all__}
OPTIONS = {"asgi": {"app": "support.asgi_app:app", "app_folder": ""}}
"""Of plugins that cannot do without."""


def selecting(name):
    options = {name: OPTIONS[name]} if name in OPTIONS else {}
    return Settings(plugins=(name,), options=options)


def test_defaults_are_installed():
    assert set(DEFAULTS) <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_loads_by_its_name_with_default_options(name):
    registry = load(Loaded(selecting(name)))
    assert registry.plugins[0].name == name
    assert registry.plugins[0].origin.startswith("prefork ")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_catalogue_tells_without_importing_what_loading_finds(name):
    listed = {entry.name: entry for entry in catalog([name])}[name]
    registry = load(Loaded(selecting(name)))
    assert listed.selected
    assert listed.implements == registry.plugins[0].hooks


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_imports_only_public_names_of_the_host(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("host."):
            ours = node.module.startswith("host.plugins.")
            assert ours or {f"{node.module}.{alias.name}" for alias in node.names} <= PUBLIC, (
                node.module
            )
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("host") for alias in node.names)
