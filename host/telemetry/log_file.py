"""The file that the log is written to, opened anew when it has been rotated."""

from __future__ import annotations

import os
import stat

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
_MODE = 0o640
"""Less what the umask forbids (open(2)): there are addresses of clients in it."""


class LogFile:
    """A file that lines are added to, under one descriptor however often it is opened anew.

    All processes of a host write to it, and each line is added at the end (open(2), O_APPEND).

    Args:
        path: where it is; a relative path begins at the working directory of this moment.
        descriptor: it stands for the file until `reopen`; without it the file is opened now.

    Attributes:
        path: where it is, from the root.
        descriptor: where to write; it stays open until the process ends.

    Raises:
        OSError: it can neither be opened nor made.
    """

    def __init__(self, path: str, descriptor: int | None = None) -> None:
        self.path = os.path.abspath(path)
        self.descriptor = _open(self.path) if descriptor is None else descriptor

    def reopen(self) -> None:
        """Open what has the path now, which is made if need be, and write no more to what had it.

        Raises:
            OSError: it can neither be opened nor made; all is as before.
        """
        opened = _open(self.path)
        try:
            os.dup2(opened, self.descriptor, inheritable=False)
        finally:
            os.close(opened)


def open_for(path: str, uid: int, gid: int) -> int:
    """Open a file as root for another user, who may not open it yet; it is the user's then.

    Root is not led elsewhere: it follows no link, and gives away no file that has another name.

    Args:
        path: where it is; it is made if need be.
        uid: the number of the user.
        gid: the number of the group.

    Returns:
        Its descriptor, which the caller closes.

    Raises:
        OSError: it can neither be opened nor made; ELOOP if it is a link.
    """
    opened = _open(path, os.O_NOFOLLOW)
    status = os.fstat(opened)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        os.fchown(opened, uid, gid)
    return opened


def _open(path: str, more: int = 0) -> int:
    # O_NONBLOCK: a FIFO that nobody reads is an error (fifo(7)), and not a wait for ever.
    return os.open(path, _FLAGS | os.O_NONBLOCK | more, _MODE)
