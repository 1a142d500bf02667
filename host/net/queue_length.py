"""How many connections wait on a listening socket: TCP_INFO, sock_diag(7), or poll(2)."""

from __future__ import annotations

import errno
import itertools
import os
import select
import socket
import struct
import sys
from collections.abc import Callable

from host.net import sock_diag
from host.net.listeners import ListeningSocket
from host.text import reason

QueueLength = Callable[[], int]

_UNACKED, _SACKED, _TCP_INFO_BYTES = 24, 28, 32


def queue_length(listener: ListeningSocket) -> tuple[QueueLength, int | None, str]:
    """Find out how the kernel can be asked for the listener's queue length.

    Returns:
        The function that asks, the queue's limit, and why the last resort was taken or "". The last
        resort only tells whether anyone waits (0 or 1); its limit is None.
    """
    ask = _unix_queue if listener.sock.family == socket.AF_UNIX else _tcp_queue
    try:
        both = ask(listener)
        limit = both()[1]
    except OSError as error:
        return _poll_queue(listener.sock), None, reason(error)
    if not limit:
        return _poll_queue(listener.sock), None, "it reports a limit of 0"
    if ask is _tcp_queue:
        return _tcp_length(listener.sock), limit, ""
    return (lambda: both()[0]), limit, ""


def _tcp_queue(listener: ListeningSocket) -> Callable[[], tuple[int, int]]:
    """Ask TCP_INFO (tcp(7)).

    Of a listening socket `tcpi_unacked` is the accept queue's length and `tcpi_sacked` its limit
    (tcp_get_info() in the kernel's net/ipv4/tcp.c).
    """

    def ask() -> tuple[int, int]:
        info = listener.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        if len(info) < _TCP_INFO_BYTES:
            raise OSError(errno.ENODATA, "TCP_INFO gives no queue length")
        length, limit = struct.unpack_from("=II", info, _UNACKED)
        return length, limit

    return ask


def _tcp_length(sock: socket.socket) -> QueueLength:
    ask, order = sock.getsockopt, sys.byteorder

    def length() -> int:
        return int.from_bytes(ask(6, 11, _SACKED)[_UNACKED:], order)  # IPPROTO_TCP, TCP_INFO

    return length


_UDIAG_SHOW_RQLEN = 0x10
_UNIX_DIAG_RQLEN = 4
_NLMSG_ERROR = struct.pack("=H", 2)


def _unix_queue(listener: ListeningSocket) -> Callable[[], tuple[int, int]]:
    """Ask sock_diag(7) for the socket by its inode.

    UNIX_DIAG_RQLEN of a listening socket is the length of its queue and the limit.
    """
    inode = os.fstat(listener.fileno()).st_ino
    body = sock_diag.unix_body(_UDIAG_SHOW_RQLEN, inode)
    listener.netlink = netlink = sock_diag.connect()

    questions = itertools.count(1)

    def ask() -> tuple[int, int]:
        number = next(questions) & 0xFFFFFFFF
        netlink.send(sock_diag.question(body, number))
        # An answer that came too late for the question before is not this one's.
        while struct.unpack_from("=I", answer := netlink.recv(4096), 8)[0] != number:
            pass
        return _parse_rqlen(answer)

    return ask


def _parse_rqlen(message: bytes) -> tuple[int, int]:
    if message[4:6] == _NLMSG_ERROR and len(message) >= 20:
        number = -struct.unpack_from("=i", message, 16)[0]
        raise OSError(number, os.strerror(number))
    at = sock_diag.attribute(message, 16 + 16, _UNIX_DIAG_RQLEN)  # nlmsghdr, unix_diag_msg
    if at is None or at + 8 > len(message):
        raise OSError(errno.ENODATA, "sock_diag gives no queue length")
    length, limit = struct.unpack_from("=II", message, at)
    return length, limit


def _poll_queue(sock: socket.socket) -> QueueLength:
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN)
    return lambda: 1 if poller.poll(0) else 0
