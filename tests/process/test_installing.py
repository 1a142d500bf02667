"""What is installed has one import name, and nothing in the user's own folders gets in its way."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from support.venvs import ROOT, Environment, copy_checkout

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

BUILD_SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
CHECK = ("check", "--plugin", "echo")


class Installed(Environment):
    """An environment with the wheel that was made from the source distribution, and pytest.

    Attributes:
        wheels: the wheel made from the checkout, and the one that is installed.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        source = folder / "prefork"
        self.install("pytest")
        self.run("-m", "pip", "wheel", "-q", "--no-deps", "-w", folder / "direct", source)
        copy_checkout(folder / "again")
        self.run("-c", BUILD_SDIST, folder / "sdist", cwd=folder / "again")
        (sdist,) = (folder / "sdist").iterdir()
        built = ("--no-build-isolation", "--no-deps", "-w", folder / "indirect", sdist)
        self.run("-m", "pip", "wheel", "-q", *built)
        self.wheels = [next((folder / name).iterdir()) for name in ("direct", "indirect")]
        self.install(self.wheels[1])

    def both(self, *arguments: str, cwd: Path, **env: str) -> set[str]:
        """Return what `python -m host` and `prefork` say, which must end well."""
        module = self.run("-m", "host", *arguments, cwd=cwd, **env)
        return {module.stdout, self.prefork(*arguments, cwd=cwd, **env)}

    def prefork(self, *arguments: str, cwd: Path, **env: str) -> str:
        """Return what the script says; it must end well."""
        return self.run_script("prefork", *arguments, cwd=cwd, **env).stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("installed"))


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def in_the_tree() -> set[str]:
    """Return what git tracks, as it is to be installed."""
    listed = subprocess.run(
        ["git", "ls-files", "host/*", "plugins/*", "settings/*"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    found = {name for name in listed if not (ROOT / name).is_symlink()}
    return {name if name.startswith("host/") else f"host/{name}" for name in found}


@pytest.mark.slow
def test_both_wheels_have_all_files_and_one_package(installed: Installed) -> None:
    wanted = in_the_tree() | {"prefork_pytest.py"}
    for wheel in installed.wheels:
        assert names(wheel) == wanted


OURS_ONCE = ("settings.py", "plugins.py", "plugins/__init__.py")


@pytest.mark.parametrize("name", [*OURS_ONCE, "pluggy.py", "click.py", "enum.py"])
def test_modules_in_the_working_directory_stand_in_for_none_that_is_installed(
    installed: Installed, tmp_path: Path, name: str
) -> None:
    write_module(tmp_path / name)
    assert installed.both(*CHECK, cwd=tmp_path) == {"ok\n"}


@pytest.mark.parametrize("name", OURS_ONCE)
def test_modules_on_the_path_stand_in_for_none_of_the_hosts(
    installed: Installed, tmp_path: Path, name: str
) -> None:
    write_module(tmp_path / "mine" / name)
    path = str(tmp_path / "mine")
    assert installed.both(*CHECK, cwd=tmp_path, PYTHONPATH=path) == {"ok\n"}


def write_module(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("raise SystemExit('the module of the user')\n")


def test_the_script_does_not_mind_a_module_called_host(
    installed: Installed, tmp_path: Path
) -> None:
    (tmp_path / "host.py").write_text("X = 1\n")
    assert installed.prefork(*CHECK, cwd=tmp_path) == "ok\n"


def test_modules_in_the_working_directory_are_found(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("ANSWER = b'1'\n")
    (tmp_path / "package").mkdir()
    code = (
        "from helper import ANSWER\nfrom host import hookimpl\n\n\nclass Mine:\n    @hookimpl\n"
        "    def on_readable(self, connection):\n        connection.write(ANSWER)\n"
    )
    for name in ("package/__init__.py", "package/module.py", "file.py"):
        (tmp_path / name).write_text(code if name != "package/__init__.py" else "")
    for plugin in ("package.module:Mine", "./file.py:Mine"):
        assert installed.both("check", "--plugin", plugin, cwd=tmp_path) == {"ok\n"}


@pytest.mark.parametrize("folder", [".", "src"])
def test_pytest_leaves_a_project_its_own_module_host(
    installed: Installed, tmp_path: Path, folder: str
) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "host.py").write_text("MINE = 1\n")
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["src"]\n')
    (tmp_path / "test_it.py").write_text("import host\n\n\ndef test_it():\n    assert host.MINE\n")
    assert "1 passed" in installed.run("-m", "pytest", "-q", cwd=tmp_path).stdout


def test_a_distribution_with_packages_of_those_names_does_no_harm(
    installed: Installed, tmp_path: Path
) -> None:
    for name in ("plugins", "settings"):
        (tmp_path / "other" / name).mkdir(parents=True)
        (tmp_path / "other" / name / "__init__.py").write_text("NAME = 'theirs'\n")
    (tmp_path / "other" / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "unrelated"\nversion = "1"\n'
        '[tool.setuptools]\npackages = ["plugins", "settings"]\n'
    )
    installed.install(tmp_path / "other")
    try:
        assert installed.both(*CHECK, cwd=tmp_path) == {"ok\n"}
    finally:
        installed.run("-m", "pip", "uninstall", "-q", "-y", "unrelated")
    assert installed.both(*CHECK, cwd=tmp_path) == {"ok\n"}
