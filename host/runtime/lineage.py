"""Tells forks of the host's own processes from all other processes.

Each process of the host maps a piece of memory that is in no file system. A fork has the same
mappings as its parent, and an exec drops them all (fork(2), execve(2)). So whoever has this one
(proc_pid_maps(5)) is a fork of the host, or a fork of such a fork, and has executed nothing since.
No name, no path and no argument is compared: those can be alike by chance.

The supervisor has the first page. A process that it forks has the second one too, so that forks of
plugins in workers can be told from those of plugins in the supervisor. A process of a pool, which a
worker has spawned, has no such page, since another program maps nothing before it runs. It is given
the descriptor instead, and has it from its first moment on.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum, auto

from host.runtime.libc import last_error, libc

_VARIABLE = "_PREFORK_LINEAGE"
"""The number of the memory's descriptor, for a rehearsal."""
_SUPERVISOR = 0
_CHILD = 2 * mmap.PAGESIZE
"""Offsets of the two pages. Between them is another: the kernel would merge neighbours into one."""
POOL_DESCRIPTOR = 4
"""The number of the memory's descriptor in a process of a pool."""
_PROT_NONE = 0
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [
    *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
]
_FAILED = ctypes.c_void_p(-1).value


class Kin(Enum):
    """What a process is to the host.

    Attributes:
        SUPERVISOR: the supervisor, or a fork of it that is not the host's own.
        CHILD: a process that the supervisor has forked, such as a worker, or a fork of that.
        POOL: a process of a pool, or a fork of one.
        STRANGER: any other, also one of which the kernel does not tell.
        GONE: none any more: it has ended, or is ending and has dropped its memory.
    """

    SUPERVISOR = auto()
    CHILD = auto()
    POOL = auto()
    STRANGER = auto()
    GONE = auto()


class _Memory:
    """The memory of this host: its descriptor, if it is open, and how the kernel lists it."""

    descriptor: int | None = None
    listed: tuple[bytes, bytes] | None = None


_memory = _Memory()


def begin(descriptor: int | None = None) -> None:
    """Be the supervisor from now on.

    Args:
        descriptor: the memory that the supervisor before an exec had; new memory if left out.

    Raises:
        OSError: EMFILE, ENOMEM, or the descriptor is not of the host's making.
    """
    new = os.memfd_create("prefork-lineage") if descriptor is None else descriptor
    _memory.descriptor, status = new, os.fstat(new)
    os.set_inheritable(new, False)
    device = b"%02x:%02x" % (os.major(status.st_dev), os.minor(status.st_dev))
    _memory.listed = device, b"%d" % status.st_ino
    _map(new, _SUPERVISOR)


def descriptor() -> int | None:
    """Return the descriptor of the memory, which a supervisor keeps across an exec."""
    return _memory.descriptor


def duplicate() -> int | None:
    """Return another descriptor of the memory, for processes of pools; None if there is none."""
    return None if _memory.descriptor is None else os.dup(_memory.descriptor)


def join() -> None:
    """Be a process that the supervisor has forked; nothing happens where there is no host."""
    if _memory.descriptor is not None:
        _map(_memory.descriptor, _CHILD)


def passed() -> dict[str, str]:
    """Let the memory pass an exec of this process; return the variable that tells of it."""
    if _memory.descriptor is None:
        return {}
    os.set_inheritable(_memory.descriptor, True)
    return {_VARIABLE: str(_memory.descriptor)}


def take() -> None:
    """Be a process of the host that has just been executed, if it was told of the memory."""
    number = os.environ.pop(_VARIABLE, None)
    if number is not None:
        with suppress(OSError, ValueError):  # the variable is not of the host's making
            begin(int(number))
            join()
            close()


def close() -> None:
    """Close the descriptor: this process forks nothing for the host."""
    if _memory.descriptor is not None:
        os.close(_memory.descriptor)
        _memory.descriptor = None


def kin(pid: int) -> Kin:
    """Tell what a process is to the host.

    The kernel does not tell of a process that has changed its user, unless this one has
    CAP_SYS_PTRACE (proc_pid_maps(5)).
    """
    try:
        found = {
            int(offset, 16)
            for _addresses, _rights, offset, device, inode, *_name in _mappings(pid)
            if (device, inode) == _memory.listed
        }
        if _CHILD in found:
            return Kin.CHILD
        if not found and _has_descriptor(pid):
            return Kin.POOL
        # A process that ends drops its memory, which can be in the midst of the list, and then its
        # descriptors. So what was missing tells something only of one that has its memory still.
        if next(_mappings(pid), None) is None:
            return Kin.GONE
    except (FileNotFoundError, ProcessLookupError):
        return Kin.GONE
    except OSError:
        return Kin.STRANGER
    return Kin.SUPERVISOR if found else Kin.STRANGER


def _mappings(pid: int) -> Iterator[list[bytes]]:
    """Yield the fields of each line of a process's memory map, none if it has dropped it."""
    with open(f"/proc/{pid}/maps", "rb") as file:
        for line in file:
            yield line.split(maxsplit=5)


def _has_descriptor(pid: int) -> bool:
    """Tell whether a process has the memory where those of pools have it (proc_pid_fd(5))."""
    try:
        status = os.stat(f"/proc/{pid}/fd/{POOL_DESCRIPTOR}")
    except OSError:
        return False
    device = b"%02x:%02x" % (os.major(status.st_dev), os.minor(status.st_dev))
    return (device, b"%d" % status.st_ino) == _memory.listed


def _map(descriptor: int, offset: int) -> None:
    """Map a page for the life of this process; nothing can be read or written there."""
    place = libc.mmap(None, mmap.PAGESIZE, _PROT_NONE, mmap.MAP_SHARED, descriptor, offset)
    if place == _FAILED:
        raise last_error()
