"""Questions to the kernel about sockets: sock_diag(7), over netlink(7)."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

_BY_FAMILY = 20  # of a question about sockets, and of each answer: linux/sock_diag.h
_NLM_F_DUMP = 0x300
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, number, sender
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length with this head, type
_UNIX = struct.Struct("=BBHIIIII")
_ALL = 0xFFFFFFFF
_NETLINK_SOCK_DIAG = 4
_NLM_F_REQUEST = 1
_PATIENCE_SECONDS = 0.1


def connect() -> socket.socket:
    """Return a socket on which the kernel can be asked; the caller closes it.

    A question that is not answered within a tenth of a second is a TimeoutError.
    """
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    netlink = socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
    netlink.settimeout(_PATIENCE_SECONDS)
    return netlink


def question(body: bytes, number: int, flags: int = 0) -> bytes:
    """Return a question as it is sent.

    Args:
        body: what is asked, as the family of the sockets has it.
        number: comes back with the answer.
        flags: further flags of the header.
    """
    size = _HEADER.size + len(body)
    return _HEADER.pack(size, _BY_FAMILY, _NLM_F_REQUEST | flags, number, 0) + body


def unix_body(show: int, inode: int = 0) -> bytes:
    """Return what is asked about Unix sockets: struct unix_diag_req of linux/unix_diag.h.

    Args:
        show: what the answer is to have.
        inode: the socket's inode; 0 in a question about all of them.
    """
    # Family, protocol, padding, states, inode, what to show, cookie.
    return _UNIX.pack(socket.AF_UNIX, 0, 0, _ALL, inode, show, _ALL, _ALL)


def dump(body: bytes) -> Iterator[bytes]:
    """Ask for all sockets that there are of a kind; yield each answer, without its header.

    Raises:
        OSError: the kernel does not answer.
    """
    with connect() as netlink:
        netlink.send(question(body, 1, _NLM_F_DUMP))
        while True:
            data, at = netlink.recv(65536), 0
            while at + _HEADER.size <= len(data):
                size, message, *_ = _HEADER.unpack_from(data, at)
                if message != _BY_FAMILY:  # the end of the list, or an error
                    return
                yield data[at + _HEADER.size : at + size]
                at += (size + 3) & ~3


def ask(body: bytes) -> bytes:
    """Ask for one socket; return the answer, without its header.

    Raises:
        OSError: the kernel does not answer, or there is no such socket.
    """
    with connect() as netlink:
        netlink.send(question(body, 1))
        data = netlink.recv(65536)
    _size, message, *_ = _HEADER.unpack_from(data)
    if message != _BY_FAMILY:
        raise FileNotFoundError(errno.ENOENT, "there is no such socket")
    return data[_HEADER.size :]


def attribute(answer: bytes, start: int, kind: int) -> int | None:
    """Return where the value of an attribute begins in an answer; None if it is not there.

    Args:
        answer: the answer.
        start: where the attributes begin in it.
        kind: the attribute's type.
    """
    at = start
    while at + _ATTRIBUTE.size <= len(answer):
        size, found = _ATTRIBUTE.unpack_from(answer, at)
        if found == kind:
            return at + _ATTRIBUTE.size
        at += max(_ATTRIBUTE.size, (size + 3) & ~3)
    return None
