"""Finds users and groups by name or number, as the databases of this machine have them."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from typing import Literal, NamedTuple

from host.errors import ExitCode, HostError

_HIGHEST = 2**32 - 2
"""(uid_t) -1 stands for no user in chown(2) and setresuid(2)."""


class AccountError(HostError):
    """There is no such user or group; the text says which, and what to do.

    Attributes:
        kind: whether it is a "user" or a "group" that is missing.
    """

    exit_code = ExitCode.SETTINGS

    def __init__(self, text: str, kind: Literal["user", "group"] = "user") -> None:
        super().__init__(text)
        self.kind = kind


class Account(NamedTuple):
    """A user with all that a process of it has.

    Attributes:
        name: the user's name, or the number of one that has none.
        uid: the user's number.
        gid: the number of the group.
        groups: the numbers of all groups, `gid` among them.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @property
    def is_current(self) -> bool:
        """Whether this process has that user and that group already."""
        return os.getresuid() == (self.uid,) * 3 and os.getresgid() == (self.gid,) * 3


def account(user: str, group: str = "") -> Account:
    """Return a user with its groups (getgrouplist(3)).

    Args:
        user: its name or number.
        group: the name or number of the group; that of the user in the database if "".

    Raises:
        AccountError: there is no such user or group, or the user is a mere number without a group.
    """
    entry = _user(user)
    if entry is None:
        uid = _number(user)
        if uid is None:
            raise AccountError(f'there is no user "{user}" on this machine: make it, or choose one')
        if not group:
            raise AccountError(
                f"uid {uid} has no name on this machine, and so no group: say its group, too"
            )
        gid = find_group(group)
        return Account(user, uid, gid, (gid,))
    gid = find_group(group) if group else entry.pw_gid
    groups = os.getgrouplist(entry.pw_name, gid)
    return Account(entry.pw_name, entry.pw_uid, gid, tuple(sorted(set(groups))))


def find_user(user: str) -> int:
    """Return the number of a user, given by name or number.

    Raises:
        AccountError: there is none of that name.
    """
    entry = _user(user)
    uid = _number(user) if entry is None else entry.pw_uid
    if uid is None:
        raise AccountError(f'there is no user "{user}" on this machine')
    return uid


def find_group(group: str) -> int:
    """Return the number of a group, given by name or number.

    Raises:
        AccountError: there is none of that name.
    """
    with suppress(KeyError):
        return grp.getgrnam(group).gr_gid
    gid = _number(group)
    if gid is None:
        cause = f'there is no group "{group}" on this machine: make it, or choose one'
        raise AccountError(cause, "group")
    return gid


def _user(text: str) -> pwd.struct_passwd | None:
    """Return the entry of a user in the database; a name that is all digits goes first."""
    with suppress(KeyError):
        return pwd.getpwnam(text)
    uid = _number(text)
    if uid is not None:
        with suppress(KeyError):
            return pwd.getpwuid(uid)
    return None


def _number(text: str) -> int | None:
    number = int(text) if text.isascii() and text.isdecimal() else _HIGHEST + 1
    return number if number <= _HIGHEST else None
