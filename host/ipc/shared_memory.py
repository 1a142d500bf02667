"""Memory that processes share: a memfd (memfd_create(2)), mapped."""

from __future__ import annotations

import errno
import mmap
import os
from typing import Any, Literal

from host.text import reason


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


def too_much(size: int, error: OSError) -> str:
    """Return how much memory cannot be mapped, why, and which limit says so, as far as it is known.

    A limit of the size of files holds for a memfd, too (setrlimit(2)).
    """
    is_file = error.errno == errno.EFBIG
    what = "shared memory" if is_file else "address space"
    limit = "RLIMIT_FSIZE, ulimit -f" if is_file else "RLIMIT_AS, ulimit -v"
    return f"{size >> 20} MiB of {what}, of which little is ever used: {reason(error)} ({limit})"


class SharedCells:
    """Such memory as cells of one kind.

    Args:
        name: what it is called in /proc.
        size: how many bytes it has; those that nobody writes to take no memory.
        kind: what a cell is, as the module `struct` has it: a word, or a number with a fraction.
        fd: the memfd of memory that exists; it is closed by `close`, too.

    Attributes:
        cells: all of them.
        size: see above.

    Raises:
        OSError: there is no memory or no address space left.
    """

    cells: memoryview[Any]

    def __init__(self, name: str, size: int, kind: Literal["Q", "d"], fd: int | None) -> None:
        self.size, self._kind = size, kind
        self._fd, mapped = map_shared(name, size, fd)
        self._use(mapped)

    def _use(self, mapped: mmap.mmap) -> None:
        self._map, self.cells = mapped, memoryview(mapped).cast(self._kind)

    def fileno(self) -> int:
        """Return the descriptor of the memfd."""
        return self._fd

    def only_read(self) -> None:
        """Write nothing here any more, in this process; what had the cells must not use them.

        Raises:
            OSError: there is no address space left.
        """
        mapped = mmap.mmap(self._fd, self.size, prot=mmap.PROT_READ)
        self._unmap()
        self._use(mapped)

    def close(self) -> None:
        """Unmap and close; the cells must not be used any more."""
        self._unmap()
        os.close(self._fd)

    def _unmap(self) -> None:
        self.cells.release()
        self._map.close()
