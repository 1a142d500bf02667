"""Becomes another user for good, with no capability or one (capabilities(7)).

Root is given up by the supervisor itself, since it runs code of plugins. All that only root may
open is open by then, and passes the exec of a reload.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from host.errors import HostError
from host.runtime.accounts import Account
from host.runtime.libc import last_error, libc

_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG = 1, 2
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_PR_SET_KEEPCAPS = 8
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 47, 2
_CAP_NET_BIND_SERVICE = 10
_VERSION = 0x20080522
"""_LINUX_CAPABILITY_VERSION_3: sets of 64 capabilities, in two structures (capget(2))."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextmanager
def acting_as(account: Account) -> Iterator[None]:
    """Have root's process open files as that user, for a while; all its threads do.

    Raises:
        OSError: EPERM, this process may not (seteuid(2)).
    """
    groups = os.getgroups()
    with _same_process():
        try:
            os.setgroups(account.groups)
            os.setegid(account.gid)
            os.seteuid(account.uid)
            yield
        finally:
            os.seteuid(os.getuid())
            os.setegid(os.getgid())
            os.setgroups(groups)


def become(account: Account, *, keep_bind: bool) -> None:
    """Be that user from now on, with its groups and no others; this cannot be undone.

    No program that this process or a child executes gets more than it has (PR_SET_NO_NEW_PRIVS).

    Args:
        account: whom to be.
        keep_bind: whether ports below 1024 can still be bound, also after an exec.

    Raises:
        OSError: EPERM, this process may not; it may have some of the groups and numbers by then.
        HostError: root can be had again, which must not be.
    """
    with _same_process():
        _prctl(_PR_SET_KEEPCAPS, 1)
        os.setgroups(account.groups)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
        _set_capabilities(1 << _CAP_NET_BIND_SERVICE if keep_bind else 0)
        _prctl(_PR_SET_KEEPCAPS, 0)
    if keep_bind:  # an exec leaves a user who is not root the ambient ones only
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_NET_BIND_SERVICE)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    with suppress(PermissionError):
        os.setuid(0)
        raise HostError(f"this process is {account.name} now, and could become root again")


def give_up_capabilities() -> None:
    """Have no capability from now on, nor any program that this process executes."""
    _set_capabilities(0)


@contextmanager
def _same_process() -> Iterator[None]:
    """Keep what the kernel takes from a process whose user changes (prctl(2)).

    PR_SET_PDEATHSIG: it would no longer end with its parent. PR_SET_DUMPABLE: until the next exec
    its files in /proc would be root's, so that it could not offer itself to the kernel when memory
    runs out, and the host could not tell which processes are its own.
    """
    parent, dumpable, number = os.getppid(), _prctl(_PR_GET_DUMPABLE), ctypes.c_int()
    _prctl(_PR_GET_PDEATHSIG, ctypes.addressof(number))
    try:
        yield
    finally:
        _prctl(_PR_SET_DUMPABLE, dumpable)
        _prctl(_PR_SET_PDEATHSIG, number.value)
        if number.value and os.getppid() != parent:  # it has died meanwhile
            os.kill(os.getpid(), number.value)


def _set_capabilities(low: int) -> None:
    """Set all three sets to these of the lower 32 capabilities; the ambient set is within them."""
    header = _Header(_VERSION, 0)
    sets = (_Sets * 2)(_Sets(low, low, low), _Sets(0, 0, 0))
    if libc.capset(ctypes.byref(header), ctypes.byref(sets)) != 0:
        raise last_error()


def _prctl(option: int, first: int = 0, second: int = 0) -> int:
    arguments = (ctypes.c_ulong(each) for each in (first, second, 0, 0))
    result = int(libc.prctl(option, *arguments))
    if result < 0:
        raise last_error()
    return result
