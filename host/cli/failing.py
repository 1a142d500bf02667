"""Ends a command with what is wrong."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import NoReturn

import click

from host import settings
from host.errors import ExitCode
from host.runtime import streams
from host.runtime.signals import ending
from host.telemetry.events import VARIABLES_IGNORED


def fail(message: str, code: ExitCode) -> NoReturn:
    """Print a message and exit."""
    with ending(code), suppress(OSError):  # nobody takes it: the code says it, too
        click.echo(f"host: {message}", err=True)
    if not streams.flush():
        streams.forget()
    sys.exit(code)


def ignored() -> list[str]:
    """Return a line that lists the variables which are ignored; none if there are none."""
    names = ", ".join(settings.ignored_variables())
    return [VARIABLES_IGNORED.sentence.format(names=names)] if names else []
