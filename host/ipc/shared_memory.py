"""Memory that processes share: a memfd (memfd_create(2)), mapped."""

from __future__ import annotations

import mmap
import os


def map_for_reading(fd: int, size: int) -> mmap.mmap:
    """Map such memory so that this process cannot write to it; the caller closes the mapping.

    Raises:
        OSError: there is no address space left.
    """
    return mmap.mmap(fd, size, prot=mmap.PROT_READ)


def map_shared(name: str, size: int, fd: int | None = None) -> tuple[int, mmap.mmap]:
    """Map memory that a fork and an exec leave shared; the caller closes both.

    Args:
        name: what it is called in /proc.
        size: how many bytes it has; those that nobody writes to take no memory.
        fd: the memfd of memory that exists; None to make some.

    Returns:
        The memfd and the mapping.

    Raises:
        OSError: there is no memory or no address space left; the memfd is closed.
    """
    memfd = os.memfd_create(name, os.MFD_CLOEXEC) if fd is None else fd
    try:
        if fd is None:
            os.ftruncate(memfd, size)
        return memfd, mmap.mmap(memfd, size)
    except OSError:
        os.close(memfd)
        raise
