"""Fresh environments that the host and other distributions are installed in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from host.testing.machine import patience

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS, UV_SECONDS = 300, 60

_PARTS = (
    "host",
    "plugins",
    "settings",
    "prefork_pytest.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
_LEAVINGS = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".*")


class Environment:
    """A virtual environment with pip and what builds packages, and a copy of the checkout."""

    _has_uv = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        # Of what venv does, ensurepip takes 6 s of CPU, for what uv does at once.
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        copy_checkout(folder / "prefork")
        if not self._uv_installs("setuptools>=77", "pip"):
            self.run("-m", "ensurepip")
            self.install("setuptools>=77")

    def install(self, *what: str | Path) -> None:
        """Install something; folders are built with what is here, which saves half a minute.

        uv does that in a tenth of pip's time; it does not know pip's settings of where packages
        are, so pip does it where uv fails.
        """
        if not self._uv_installs(*what):
            self.run("-m", "pip", "install", "-q", "--no-compile", "--no-build-isolation", *what)

    def _uv_installs(self, *what: str | Path) -> bool:
        """Install with uv; False if it cannot, which is not tried again."""
        if not Environment._has_uv:
            return False
        command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", self.python]
        try:
            subprocess.run(
                [*map(str, command), "--no-build-isolation", *map(str, what)],
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=patience(UV_SECONDS),
                check=True,
            )
        except subprocess.SubprocessError:
            Environment._has_uv = False
        return Environment._has_uv

    def copy(self, folder: Path) -> Path:
        """Copy a folder of the repository, to be installed from there; return the copy."""
        target = self.folder / folder.name
        copy(folder, target)
        return target

    def run(
        self, *arguments: str | Path, cwd: Path | None = None, code: int = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run this environment's interpreter; it must end with `code`."""
        return self.run_script("python", *arguments, cwd=cwd, code=code, **env)

    def run_script(
        self,
        script: str,
        *arguments: str | Path,
        cwd: Path | None = None,
        code: int = 0,
        **env: str,
    ) -> subprocess.CompletedProcess[str]:
        """Run a script that is installed in this environment; it must end with `code`."""
        done = subprocess.run(
            [str(self.python.with_name(script)), *map(str, arguments)],
            cwd=cwd or self.folder,
            env=environment() | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=patience(PATIENCE_SECONDS),
            check=False,
        )
        said = f"{done.args}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode == code, said
        return done


def copy_checkout(target: Path) -> None:
    """Copy what the host is built from: a build leaves files beside what it builds."""
    target.mkdir()
    for name in _PARTS:
        copy(ROOT / name, target / name)


def copy(source: Path, target: Path) -> None:
    """Copy a file, or a folder without what builds and tests leave there."""
    if source.is_dir():
        shutil.copytree(source, target, ignore=_LEAVINGS, symlinks=True)
    elif source.exists():
        shutil.copy2(source, target)


def environment() -> dict[str, str]:
    """Return this process's environment without what would reach into another interpreter."""
    foreign = ("PREFORK_", "PYTHON", "VIRTUAL_ENV", "TOX_", "COVERAGE_", "PYTEST_")
    return {name: text for name, text in os.environ.items() if not name.startswith(foreign)}
