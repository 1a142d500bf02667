"""Variables and working directory that the process was started with; plugins may change both."""

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
        inode: its device and inode.
    """

    environment: Mapping[str, str]
    folder: str
    inode: tuple[int, int]

    @classmethod
    def here(cls) -> Origin:
        """Return what there is now."""
        folder = ""
        with suppress(FileNotFoundError):
            folder = os.getcwd()
        return cls(dict(os.environ), folder, _inode())

    def go_back(self) -> None:
        """Go to the working directory if the process is in another one, and if it is to be had.

        One that is renamed or removed meanwhile is not another one.
        """
        with suppress(OSError):
            if self.folder and _inode() != self.inode:
                os.chdir(self.folder)

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Be in the working directory, and afterwards where the process was.

        Raises:
            OSError: EMFILE, ENFILE.
        """
        here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.go_back()
            yield
        finally:
            with suppress(OSError):
                os.fchdir(here)
            os.close(here)


def _inode() -> tuple[int, int]:
    status = os.stat(".")
    return status.st_dev, status.st_ino
