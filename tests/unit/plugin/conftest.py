"""A folder to write plugins into, and distributions that offer them."""

import sys

import pytest

from support.plugin_files import write


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """Work in an empty folder, and forget what is imported from it."""
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("prefork_file_", "sample")):
            del sys.modules[name]


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that makes an installed distribution with entry points."""

    def install(name, version="1.0", folder="site", **points):
        site = tmp_path / folder
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        write(info / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = "".join(f"{key} = {value}\n" for key, value in points.items())
        write(info / "entry_points.txt", f"[host.plugins]\n{lines}")
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(site)
        return site

    return install
