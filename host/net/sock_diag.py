"""Questions to the kernel about sockets: sock_diag(7), over netlink(7)."""

from __future__ import annotations

import socket
import struct

BY_FAMILY = 20
"""The type of a question about sockets, and of each answer (linux/sock_diag.h)."""
DUMP = 0x300
"""The flag of a question about all sockets that there are."""
HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, number, sender."""

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
        flags: `DUMP`, or none.
    """
    size = HEADER.size + len(body)
    return HEADER.pack(size, BY_FAMILY, _NLM_F_REQUEST | flags, number, 0) + body
