"""Has root go where a user may not, without being led anywhere by that user."""

from __future__ import annotations

import errno
import os
import stat

from host.runtime.accounts import Account
from host.runtime.privileges import acting_as

_PLACE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40
"""As many as the kernel follows (path_resolution(7))."""


class LedError(ValueError):
    """The user could have put another file there; the text says where."""


def open_unled(path: str, account: Account) -> int:
    """Open a file to read it, if the user could put no other file or link in its place.

    Args:
        path: where it is; a relative path begins at the working directory.
        account: the user that root is not to be led by.

    Returns:
        Its descriptor, which the caller closes.

    Raises:
        LedError: that user could.
        OSError: it cannot be opened; EINVAL if it is no regular file, ELOOP if links do not end.
    """
    place = _go(path, account)
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)


def is_led(folder: str, account: Account) -> bool:
    """Tell whether the user could put another folder or link in the place of a folder.

    Raises:
        OSError: it cannot be entered.
    """
    try:
        os.close(_go(folder, account))
    except LedError:
        return True
    return False


def check_folder(folder: str, account: Account) -> None:
    """See that root may make files in a folder: the user has no hand in it, nor in the way there.

    Raises:
        LedError: the user has.
        OSError: it cannot be entered.
    """
    place = _go(folder, account)
    try:
        is_own = os.fstat(place).st_uid == account.uid
        with acting_as(account):
            may_write = os.access(".", os.W_OK, dir_fd=place, effective_ids=True)
    finally:
        os.close(place)
    if is_own or may_write:
        raise LedError(f"{folder} is a folder that the user of the host may write to")


def _go(path: str, account: Account) -> int:
    """Return a descriptor (O_PATH) of what a path leads to, if the user could not lead it there.

    Each folder on the way is looked at, also on the way of links, and each is entered by its
    descriptor: what was looked at cannot be another one a moment later.

    Raises:
        LedError, OSError: see `open_unled`.
    """
    names, links, seen = _names(os.path.abspath(path)), 0, "/"
    place = os.open("/", _PLACE)
    try:
        while names:
            name = names.pop()
            found = os.open(name, _PLACE, dir_fd=place)
            try:
                status = os.fstat(found)
                if _may_replace(place, status, account):
                    raise LedError(f"{seen} is a folder that the user of the host may write to")
                if not stat.S_ISLNK(status.st_mode):
                    os.dup2(found, place, inheritable=False)
                    seen = os.path.normpath(os.path.join(seen, name))
                    continue
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                target = os.readlink("", dir_fd=found)
            finally:
                os.close(found)
            names += _names(target)
            if target.startswith("/"):
                os.close(place)
                place, seen = os.open("/", _PLACE), "/"
    except BaseException:
        os.close(place)
        raise
    return place


def _names(path: str) -> list[str]:
    """Return the parts of a path, the last one first."""
    return [name for name in reversed(path.split("/")) if name not in {"", "."}]


def _may_replace(folder: int, entry: os.stat_result, account: Account) -> bool:
    """Tell whether a user may put something else in the place of an entry of a folder.

    In a folder with the sticky bit, as /tmp, only the owner of an entry may (inode(7)); there
    anybody could have given another name to root's file (link(2)).
    """
    status = os.fstat(folder)
    if account.uid in (status.st_uid, 0):
        return True
    with acting_as(account):
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True):
            return False
    is_other_name = not stat.S_ISDIR(entry.st_mode) and entry.st_nlink > 1
    return not status.st_mode & stat.S_ISVTX or entry.st_uid != 0 or is_other_name
