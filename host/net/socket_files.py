"""Files of Unix sockets: made with their mode, told apart from those of others, and removed."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Literal, NamedTuple

from host.net import sock_diag
from host.runtime.accounts import Account, find_group, find_user
from host.runtime.guided import LedError, check_folder, is_led
from host.runtime.privileges import acting_as
from host.settings import Listen

_SHOW_FILE = 2  # UDIAG_SHOW_VFS, and UNIX_DIAG_VFS of its answer: linux/unix_diag.h
_FILE = 1
_ATTRIBUTES_AT = 16  # after struct unix_diag_msg
_MINOR_BITS = 20
_INODE = 0xFFFFFFFF

NOBODY = -1
"""Stands for no user or group: who has a file keeps it (chown(2))."""
State = Literal["present", "gone", "replaced"]


class SocketFile(NamedTuple):
    """The file that a socket was bound to. As long as the socket is open no other gets its inode.

    Attributes:
        path: its absolute path.
        device, inode: what makes it that file and no other (stat(2)).
        mode: the permissions that the settings gave it; an operator may have changed them since.
        owner, group: whom the settings gave it to, by number; -1 if they say nothing.
    """

    path: str
    device: int
    inode: int
    mode: int
    owner: int = NOBODY
    group: int = NOBODY

    @property
    def state(self) -> State:
        """Whether it is still there; `replaced` if something else has its path."""
        try:
            found = os.lstat(self.path)
        except OSError:
            return "gone"
        same = (found.st_dev, found.st_ino) == (self.device, self.inode)
        return "present" if same else "replaced"

    def as_wanted(self, listen: Listen) -> SocketFile:
        """Give it mode, owner and group as the settings have them now, where they have changed.

        Raises:
            OSError: EPERM, it is another user's (chmod(2)); and as `given` says.
        """
        changed = self
        if listen.mode != self.mode and self.state == "present":
            os.chmod(self.path, listen.mode)
            changed = self._replace(mode=listen.mode)
        return changed.given(*owner_and_group(listen))

    def given(self, owner: int, group: int) -> SocketFile:
        """Give it to a user and a group, unless the settings had them do so before.

        What is given away is this file and no other, whatever has its path by now.

        Args:
            owner: the number of the user; -1 for whoever has it.
            group: the number of the group; likewise.

        Raises:
            OSError: EPERM, only root may give files away, and a user to its own groups (chown(2));
                or ESTALE, the path leads to another file.
        """
        if (owner, group) == (self.owner, self.group) or self.state != "present":
            return self
        if (owner, group) != (NOBODY, NOBODY):
            pinned = os.open(self.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                found = os.fstat(pinned)
                if (found.st_dev, found.st_ino, found.st_nlink) != (self.device, self.inode, 1):
                    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
                os.chown(f"/proc/self/fd/{pinned}", owner, group)
            finally:
                os.close(pinned)
        return self._replace(owner=owner, group=group)

    def check_wanted(self, listen: Listen) -> None:
        """See whether `as_wanted` is possible for this process; nothing changes.

        Raises:
            OSError: EPERM, it is not (chmod(2), chown(2)).
        """
        own, (owner, group) = os.geteuid(), owner_and_group(listen)
        same = (listen.mode, owner, group) == (self.mode, self.owner, self.group)
        if same or own == 0 or self.state != "present":
            return
        found = os.lstat(self.path)
        groups = {NOBODY, found.st_gid, os.getegid(), *os.getgroups()}
        if own != found.st_uid or owner not in (NOBODY, own) or group not in groups:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def remove(self) -> None:
        """Remove it, if it is still there; harmless if that is not allowed."""
        if self.state == "present":
            with suppress(OSError):
                os.unlink(self.path)


def bind(sock: socket.socket, path: str, mode: int) -> SocketFile:
    """Bind a socket to a new file, replacing one that no socket is bound to any more.

    The mode is set between bind and listen, when nobody can connect yet; a umask would be
    the whole process's.

    Raises:
        OSError: EEXIST if there is something else than a socket file; else as bind(2) says.
    """
    try:
        sock.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not is_stale(path):
            raise
        os.unlink(path)
        sock.bind(path)
    os.chmod(path, mode)
    made = os.stat(path)
    return SocketFile(os.path.abspath(path), made.st_dev, made.st_ino, mode)


def open_file(sock: socket.socket, listen: Listen, account: Account | None) -> SocketFile:
    """Bind a socket to a file that has the mode, owner and group of the settings.

    In a folder of a user links could lead root anywhere: root binds only where the user may not.

    Args:
        sock: the socket.
        listen: what the settings say.
        account: the user that this process, which is root's, is about to become; None if none.

    Raises:
        OSError: the machine refuses; nothing is left behind.
    """
    path, mode = listen.parsed.path, listen.mode
    if account is None:
        file = bind(sock, path, mode)
    else:
        folder = os.path.dirname(path) or "."
        if is_stale(path) and not is_led(folder, account):  # it may be of a host that was root's
            os.unlink(path)
        try:
            with acting_as(account):
                file = bind(sock, path, mode)
        except PermissionError as error:
            try:
                check_folder(folder, account)
            except LedError:
                raise error from None
            file = bind(sock, path, mode).given(account.uid, account.gid)
    try:
        return file.given(*owner_and_group(listen))
    except OSError:
        file.remove()
        raise


def owner_and_group(listen: Listen) -> tuple[int, int]:
    """Return the numbers of the owner and the group that a socket file shall have.

    Raises:
        AccountError: this machine does not know one of them.
    """
    return (
        find_user(listen.owner) if listen.owner else NOBODY,
        find_group(listen.group) if listen.group else NOBODY,
    )


def found(sock: socket.socket) -> SocketFile | None:
    """Return the file that a socket was bound to elsewhere, or None if it has an abstract address.

    If there is something else now, it is a file that is not there.
    """
    path = sock.getsockname()
    if not isinstance(path, str) or not path:
        return None
    lost = SocketFile(os.path.abspath(path), 0, 0, 0)
    try:
        there = os.lstat(path)
        number = os.fstat(sock.fileno()).st_ino
        bound = _file_of(sock_diag.ask(sock_diag.unix_body(_SHOW_FILE, number)))
    except OSError:
        return lost
    if bound != (there.st_dev, there.st_ino & _INODE):
        return lost
    return SocketFile(lost.path, there.st_dev, there.st_ino, stat.S_IMODE(there.st_mode))


def is_stale(path: str) -> bool:
    """Tell whether `path` is a socket file that nobody listens on or is about to.

    Raises:
        OSError: EEXIST, it is no socket file.
    """
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            return False
    try:
        return (found.st_dev, found.st_ino & _INODE) not in _bound_files()
    except OSError:  # the kernel does not answer: what refuses connections counts as stale
        return True


def _bound_files() -> Iterator[tuple[int, int]]:
    """Yield device and inode of each file that a Unix socket is bound to: sock_diag(7).

    Of the inode the kernel tells 32 bits.

    Raises:
        OSError: the kernel does not answer.
    """
    for answer in sock_diag.dump(sock_diag.unix_body(_SHOW_FILE)):
        bound = _file_of(answer)
        if bound is not None:
            yield bound


def _file_of(answer: bytes) -> tuple[int, int] | None:
    """Return device and inode of the file that a socket is bound to, out of what is told of it."""
    at = sock_diag.attribute(answer, _ATTRIBUTES_AT, _FILE)
    if at is None:
        return None
    inode, device = struct.unpack_from("=II", answer, at)
    # As the kernel has it: the minor number is in the lowest bits.
    return os.makedev(device >> _MINOR_BITS, device & ((1 << _MINOR_BITS) - 1)), inode
