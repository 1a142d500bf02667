"""A user that is not root, and an interpreter that this user can execute."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from everybody import ROOT, Place, usable
from support.hosting import environment

NOBODY = 65_534
NAME = "nobody"


class UnreachableError(Exception):
    """Nobody cannot run a host here; the text says why."""


class Ordinary(NamedTuple):
    """What it takes to run a host that is not root's.

    Attributes:
        python: an interpreter that nobody can execute: this one, or a copy.
        env: the variables by which it finds the host.
        folder: a folder of root's that all may enter.
    """

    python: str
    env: dict[str, str]
    folder: Path


@contextmanager
def ordinary() -> Iterator[Ordinary]:
    """Find an interpreter for nobody.

    Raises:
        UnreachableError: there can be none.
    """
    if os.geteuid() != 0:
        raise UnreachableError("only root can become somebody else")
    with tempfile.TemporaryDirectory(prefix="ordinary-") as name:
        folder = Path(name)
        place = Place(folder, ROOT, Path(sys.executable), NOBODY)
        python = str(usable(sys.executable, place))
        paths = os.pathsep.join((str(ROOT), sysconfig.get_path("purelib"), str(ROOT / "tests")))
        env = {"PYTHONPATH": paths, "LD_LIBRARY_PATH": str(folder / "python/lib")}
        tried = subprocess.run(
            [python, "-c", "import host.cli.main, host.startup.launch"],
            **place.user | {"env": environment(env)},  # type: ignore[call-overload]
            capture_output=True,
            text=True,
            check=False,
        )
        if tried.returncode:
            last = tried.stderr.splitlines()[-1]
            raise UnreachableError(f"nobody cannot read this checkout: {last}")
        yield Ordinary(python, env, folder)


def free_reserved_port() -> int:
    """Return a port below 1024 on 127.0.0.1 that nobody listens on."""
    ports = list(range(600, 1024))
    random.shuffle(ports)
    for port in ports:
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("all ports from 600 to 1023 are taken")
