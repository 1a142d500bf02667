"""Compiles the load generator, which is written in C so that it is not what limits the servers."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

SOURCES = Path(__file__).parent / "load"
PROGRAMS = ("clients", "connects", "datagrams", "fan", "floor", "pool", "udpfloor", "under")
FLAGS = ("-O2", "-Wall", "-Wextra")


class ToolError(Exception):
    """The load generator cannot be made; the text says why."""


def cache_folder() -> Path:
    """Return the folder for what is compiled: in the checkout, or else in the user's cache."""
    checkout = Path(__file__).parent.parent
    if (checkout / "pyproject.toml").exists() and os.access(checkout, os.W_OK):
        return checkout / "build" / "bench"
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "prefork-bench"


def digest() -> str:
    """Return what tells one state of the sources from another."""
    content = b"".join(path.read_bytes() for path in sorted(SOURCES.glob("*.[ch]")))
    return hashlib.sha256(content + " ".join(FLAGS).encode()).hexdigest()[:16]


def compiled(cache: Path | None = None) -> dict[str, Path]:
    """Return where the programs are, after compiling them if they have changed.

    Args:
        cache: the folder for what is compiled, if not `cache_folder()`.

    Raises:
        ToolError: there is no gcc, or it failed.
    """
    folder = (cache or cache_folder()) / digest()
    found = {name: folder / name for name in PROGRAMS}
    missing = [name for name, path in found.items() if not path.exists()]
    if not missing:
        return found
    gcc = shutil.which("gcc")
    if gcc is None:
        raise ToolError(
            "gcc is missing: the benchmark's load generator is in C and compiled at first use"
            " (on Debian and Ubuntu: apt-get install gcc libc6-dev)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name in missing:
        sources = [str(SOURCES / f"{name}.c"), str(SOURCES / "common.c")]
        made = folder / f"{name}.{os.getpid()}"
        command = [gcc, *FLAGS, "-o", str(made), *sources]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if run.returncode:
            raise ToolError(f"gcc could not compile bench/load/{name}.c:\n{run.stderr}")
        made.replace(found[name])
    return found


def ending_with_us(command: Sequence[str]) -> list[str]:
    """Return the command line that runs `command` as a process that ends with this one."""
    return [str(compiled()["under"]), str(os.getpid()), *command]
