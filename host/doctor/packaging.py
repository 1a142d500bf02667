"""Looks at what is around a plugin: the package that it is in, and the tests of its project."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from host.doctor.rules import Finding
from host.plugin.catalog import file_of
from host.plugin.discovery import Source
from host.text import shorten

_PROJECT = ("pyproject.toml", "setup.cfg", "setup.py", ".git")
_NOT_OURS = frozenset(("node_modules", "__pycache__", "site-packages", "build", "dist"))
_TEST = re.compile(r"test_.*\.py|.*_test\.py|tests?\.py|conftest\.py")
_MOST_FILES = 5_000
"""After so many files of a project nobody looks for tests any more."""
_MOST_BYTES = 1_000_000


def check_typing(source: Source) -> Iterator[Finding]:
    """Tell of an installed package without py.typed.

    A distribution that is a single module cannot have one (PEP 561).
    """
    package = source.module.partition(".")[0]
    path = file_of(package) if source.distribution else None
    if path is None or path.name != "__init__.py" or (path.parent / "py.typed").exists():
        return
    message = f"there is no py.typed in the package {package}"
    yield Finding("no-py-typed", message, shorten(str(path.parent)))


def check_tests(source: Source, path: Path) -> Iterator[Finding]:
    """Tell of a plugin that no test names; nothing is known of one that is not in its project.

    Args:
        source: the plugin.
        path: its file.
    """
    path = path.resolve()
    root = next((each for each in path.parents if _is_project(each)), None)
    if root is None and source.path is None:
        return
    names = {source.name, path.stem, path.stem.removeprefix("prefork_")}
    words = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    if not any(_names(each, words) for each in _tests(root or path.parent)):
        yield Finding("no-test", f'no test names "{source.name}"', shorten(str(path)))


def _is_project(folder: Path) -> bool:
    return any((folder / name).exists() for name in _PROJECT)


def _tests(root: Path) -> Iterator[Path]:
    """Yield the files of tests in a project."""
    seen = 0
    for folder, folders, files in os.walk(root):
        folders[:] = [
            each for each in folders if not each.startswith(".") and each not in _NOT_OURS
        ]
        for name in files:
            seen += 1
            if _TEST.fullmatch(name):
                yield Path(folder, name)
        if seen > _MOST_FILES:
            return


def _names(path: Path, words: re.Pattern[str]) -> bool:
    with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return words.search(file.read(_MOST_BYTES)) is not None
    return False
