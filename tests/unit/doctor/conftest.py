"""Plugins to be read, which are written into a folder of their own."""

from textwrap import dedent

import pytest

from host.doctor.source import read
from host.plugin.discovery import Source

HEAD = "from host import Connection, Worker, WorkerView, hookimpl\n"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Return a function that writes a plugin of this text, and reads it."""
    monkeypatch.chdir(tmp_path)

    def plugin(text, attribute=""):
        path = tmp_path / "plugin.py"
        path.write_text(HEAD + dedent(text))
        return read(Source("plugin", "", attribute, path=path))

    return plugin


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Return a function that writes a package of these modules, and reads a plugin in there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def package(target, **modules):
        folder = tmp_path / "sample_doctored"
        folder.mkdir()
        (folder / "__init__.py").touch()
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(HEAD + dedent(text))
        module, _, attribute = target.partition(":")
        return read(Source("plugin", module, attribute))

    return package
