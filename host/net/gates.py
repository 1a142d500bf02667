"""How a TCP listener keeps new clients out and lets in those whose handshake is under way."""

from __future__ import annotations

import array
import socket
import struct
from contextlib import suppress

from host.text import reason

_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_IP_MINTTL = 21
_IPV6_MINHOPCOUNT = 73

# Classic BPF (linux/filter.h): code, jump if true, jump if false, operand. The filter of a TCP
# socket sees a packet from the TCP header on, whose byte 13 holds the flags (RFC 9293, 3.1).
_DROP_SYN = (
    (0x30, 0, 0, 13),  # load byte 13
    (0x54, 0, 0, 0x12),  # keep SYN and ACK of it
    (0x15, 0, 1, 0x02),  # SYN alone: the next line; else the one after it
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # let it pass whole
)


def shut(sock: socket.socket) -> None:
    """Drop new connection requests silently; connections that are being made go on.

    With a filter (socket(7), SO_ATTACH_FILTER) that drops SYNs alone, where that is allowed. What
    accepted sockets inherit of it does no harm, since connected peers send no SYN. Elsewhere with
    IP_MINTTL at 255 (ip(7)): an ordinary peer's packets have passed a router or began with less.
    It drops whatever the listener itself or an inheriting socket gets, so `lift` it there.

    Args:
        sock: a listening socket; one that is not TCP stays as it is.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        _attach_filter(sock)
    except OSError:
        _set_least_ttl(sock, 255)


def lift(sock: socket.socket) -> None:
    """Undo what a socket has inherited from a listener that was shut by IP_MINTTL."""
    _set_least_ttl(sock, 0)


def reopen(sock: socket.socket) -> None:
    """Take new connections again on a listener that was shut."""
    with suppress(OSError):  # ENOENT: it has no filter
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    _set_least_ttl(sock, 0)


def why_no_filter() -> str:
    """Return why this process may not use the filter, or "" if it may."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
            _attach_filter(sock)
    except OSError as error:
        return reason(error)
    return ""


def _attach_filter(sock: socket.socket) -> None:
    """Attach the filter; the kernel copies it.

    Raises:
        OSError: EPERM, it is not allowed: some kernels ask for CAP_NET_ADMIN.
    """
    code = array.array("B", b"".join(struct.pack("=HBBI", *each) for each in _DROP_SYN))
    program = struct.pack("HP", len(_DROP_SYN), code.buffer_info()[0])  # struct sock_fprog
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _set_least_ttl(sock: socket.socket, ttl: int) -> None:
    with suppress(OSError):
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MINTTL, ttl)
        elif sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MINHOPCOUNT, ttl)
