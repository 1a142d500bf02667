"""Writes the package of a new plugin: code, options, tests and README, ready to be installed."""

from __future__ import annotations

import keyword
import re
import shlex
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template

import click

from host.errors import ExitCode, HostError
from host.plugin.discovery import installed
from host.runtime.steps import finish
from host.text import reason

KINDS = ("protocol", "scheduler", "asyncio")

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", re.ASCII)
_MAX_NAME = 30


class ScaffoldError(HostError):
    """The package cannot be written; the text says why, and what to do."""

    exit_code = ExitCode.USAGE


def package(name: str, kind: str) -> dict[str, str]:
    """Return the files of a new plugin's package, by path.

    Args:
        name: the plugin's name, as in `--plugin NAME`.
        kind: one of `KINDS`.
    """
    words = {
        "name": name,
        "kind": kind,
        "module": f"prefork_{name}",
        "distribution": f"prefork-{name.replace('_', '-')}",
        "class_name": "".join(word.capitalize() for word in [*name.split("_"), kind]),
    }
    places = {
        "pyproject.toml": "pyproject.toml.tmpl",
        "README.md": "README.md.tmpl",
        f"{words['module']}.py": "module.py.tmpl",
        f"tests/test_{name}.py": "test.py.tmpl",
    }
    folder = resources.files("host.cli") / "templates" / kind
    return {
        path: Template((folder / template).read_text(encoding="utf-8")).substitute(words)
        for path, template in places.items()
    }


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a new plugin.

    Raises:
        ScaffoldError: it is no name, or one that is taken.
    """
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        raise ScaffoldError(
            f'"{name}" cannot be the name of a plugin: use small letters, digits and single '
            f"underscores, beginning with a letter, at most {_MAX_NAME}, as in my_protocol"
        )
    if keyword.iskeyword(name):
        raise ScaffoldError(f'"{name}" cannot be the name of a plugin: it is a word of Python')
    taken = next((entry for entry in finish(installed()).entries if entry.name == name), None)
    if taken is not None:
        whose = f" by {taken.distribution}" if taken.distribution else ""
        raise ScaffoldError(f'a plugin named "{name}" is installed already{whose}: choose another')


def write(files: Mapping[str, str], folder: Path) -> None:
    """Write files into a folder that does not exist yet.

    Raises:
        ScaffoldError: it exists, or the system refuses to write.
    """
    try:
        folder.mkdir(parents=True)
        for path, text in files.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise ScaffoldError(
            f"{error.filename} exists already: nothing was written. Remove it, or choose another "
            "name or --into DIR"
        ) from error
    except OSError as error:
        raise ScaffoldError(f"cannot write {error.filename}: {reason(error)}") from error


@click.command("new-plugin")
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(KINDS), default=KINDS[0], show_default=True, help="What it is."
)
@click.option(
    "--into",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Where the folder of the package is made. Default: here.",
)
def new_plugin(name: str, kind: str, into: Path) -> None:
    """Write a package for the new plugin NAME: code, options, tests, README."""
    try:
        check_name(name)
        folder = into / f"prefork-{name.replace('_', '-')}"
        files = package(name, kind)
        write(files, folder)
    except ScaffoldError as error:
        click.echo(f"host: {error}", err=True)
        sys.exit(error.exit_code)
    for path in files:
        click.echo(folder / path)
    python = shlex.quote(sys.executable)
    click.echo(f"Next: {python} -m pip install -e {folder} pytest && {python} -m pytest {folder}")
