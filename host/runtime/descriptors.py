"""Descriptors of this process: which files they are open for, so that it shows what others do."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import suppress

Identity = tuple[int, int]
"""The device and the inode of a file (stat(2))."""


def identities(descriptors: Iterable[int]) -> dict[int, Identity]:
    """Return which file each descriptor is open for; those that are closed are left out."""
    found = {}
    for descriptor in descriptors:
        with suppress(OSError):
            status = os.fstat(descriptor)
            found[descriptor] = status.st_dev, status.st_ino
    return found


def opened() -> set[int]:
    """Return the numbers of all that are open (proc_pid_fd(5)); none if the kernel does not say."""
    try:
        numbers = [int(number) for number in os.listdir("/proc/self/fd")]
    except OSError:
        return set()
    return set(identities(numbers))  # the one of the list itself is closed by now


def close_each(*functions: Callable[[], object]) -> None:
    """Call functions that close something, though plugins may have closed it by its number.

    That is no failure of whoever has opened it (EBADF, close(2)), and the others are called.
    """
    for function in functions:
        try:
            function()
        except OSError as error:
            if error.errno != errno.EBADF:
                raise


def fill(descriptors: Iterable[int]) -> None:
    """Open /dev/null under these numbers, which are closed: whoever had them may close them."""
    missing = set(descriptors)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in missing - {null}:
        os.dup2(null, number, inheritable=False)
    if null not in missing:
        os.close(null)
