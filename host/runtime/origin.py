"""Variables, working directory and umask that the process was started with; all may change."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import NamedTuple


class Origin(NamedTuple):
    """What the host was started with, for the programs that a reload executes.

    Attributes:
        environment: all variables.
        folder: the working directory; "" if it has been removed.
        inode: its device and inode; None if this user may not enter it.
        umask: the permissions that new files do not get (umask(2)).
    """

    environment: Mapping[str, str]
    folder: str
    inode: tuple[int, int] | None
    umask: int

    @classmethod
    def here(cls) -> Origin:
        """Return what there is now."""
        folder = ""
        with suppress(OSError):
            folder = os.getcwd()
        mask = os.umask(0o077)
        os.umask(mask)
        return cls(dict(os.environ), folder, _inode(), mask)

    def go_back(self) -> None:
        """Go to the working directory if the process is in another one, and if it is to be had.

        One that is renamed or removed meanwhile is not another one.
        """
        if self._has_left():
            with suppress(OSError):
                os.chdir(self.folder)

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Be in the working directory, and afterwards where the process was, if that can be."""
        here = None
        if self._has_left():
            with suppress(OSError):
                here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.go_back()
            yield
        finally:
            if here is not None:
                with suppress(OSError):
                    os.fchdir(here)
                os.close(here)

    @contextmanager
    def with_its_umask(self) -> Iterator[None]:
        """Make files as the process did at its start, and afterwards as now."""
        mask = os.umask(self.umask)
        try:
            yield
        finally:
            os.umask(mask)

    def _has_left(self) -> bool:
        """Tell whether the process is in another directory."""
        return bool(self.folder) and self.inode is not None and _inode() != self.inode


def _inode() -> tuple[int, int] | None:
    """Return what the working directory is; None if this user may not enter it (EACCES)."""
    try:
        status = os.stat(".")
    except OSError:
        return None
    return status.st_dev, status.st_ino
