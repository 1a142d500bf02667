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

_SHOW_FILE = 2  # UDIAG_SHOW_VFS, and UNIX_DIAG_VFS of its answer: linux/unix_diag.h
_FILE = 1
_ATTRIBUTES_AT = 16  # after struct unix_diag_msg
_MINOR_BITS = 20
_INODE = 0xFFFFFFFF

State = Literal["present", "gone", "replaced"]


class SocketFile(NamedTuple):
    """The file that a socket was bound to. As long as the socket is open no other gets its inode.

    Attributes:
        path: its absolute path.
        device, inode: what makes it that file and no other (stat(2)).
        mode: the permissions that the settings gave it; an operator may have changed them since.
    """

    path: str
    device: int
    inode: int
    mode: int

    @property
    def state(self) -> State:
        """Whether it is still there; `replaced` if something else has its path."""
        try:
            found = os.lstat(self.path)
        except OSError:
            return "gone"
        same = (found.st_dev, found.st_ino) == (self.device, self.inode)
        return "present" if same else "replaced"

    def with_mode(self, mode: int) -> SocketFile:
        """Give it the mode that the settings have now, unless they had the same before.

        Raises:
            OSError: EPERM, it is another user's (chmod(2)).
        """
        if mode == self.mode or self.state != "present":
            return self
        os.chmod(self.path, mode)
        return self._replace(mode=mode)

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
