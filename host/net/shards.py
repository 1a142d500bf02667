"""The sockets of UDP listeners: groups among which the kernel shares out the clients.

All sockets of a group have one address and SO_REUSEPORT (socket(7)). The kernel chooses one by the
addresses of a datagram, so all datagrams of one client come to one socket, its *shard*, as long as
the group does not change. It is made once, passes every exec, and no socket of it is closed alone:
that would send clients to others, and lose what waits in its queue.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from host.interfaces import Listener
from host.net.listeners import ListeningSocket, listen_error
from host.net.sockets import borrow, describe
from host.settings import Listen

_IP_PKTINFO = 8  # ip(7); not in the module socket
_SO_MEMINFO = 55  # include/uapi/asm-generic/socket.h
_MEMINFO = struct.Struct("=9I")
_RECEIVED_BYTES, _DROPS = 0, 8  # SK_MEMINFO_RMEM_ALLOC, SK_MEMINFO_DROPS (linux/sock_diag.h)


class ShardQueues(NamedTuple):
    """What the kernel says of the queues of a group.

    Attributes:
        waiting_bytes: memory of the datagrams that wait to be read.
        lost: datagrams that the kernel has dropped so far, since a queue was full or a checksum
            wrong: what SO_RXQ_OVFL counts.
    """

    waiting_bytes: int
    lost: int


class ShardGroup(ListeningSocket):
    """The sockets of one UDP listener; it owns their descriptors.

    Attributes:
        shards: the descriptors, the one of `sock` first. They name the shards in all processes of
            the host, which have them from the supervisor.
    """

    def __init__(
        self, sock: socket.socket, others: Sequence[int], view: Listener, configured: str
    ) -> None:
        super().__init__(sock, view, 0, None, configured)
        self.shards = (sock.fileno(), *others)

    def queues(self) -> ShardQueues:
        """Ask the kernel what waits and what was lost (SO_MEMINFO).

        Raises:
            OSError: the sockets are closed.
        """
        waiting = lost = 0
        for descriptor in self.shards:
            with borrow(descriptor) as sock:
                memory = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
            found = _MEMINFO.unpack(memory)
            waiting, lost = waiting + found[_RECEIVED_BYTES], lost + found[_DROPS]
        return ShardQueues(waiting, lost)

    def shut_gate(self) -> None:
        """Do nothing: there is no handshake, and what waits is read to the end."""

    def close_in_fork(self) -> None:
        """Close the copies of a process that a plugin has forked; the group stays bound."""
        self._close_others()
        super().close_in_fork()

    def close(self) -> None:
        """Close all sockets; harmless if they are closed."""
        self._close_others()
        super().close()

    def _close_others(self) -> None:
        if self.sock.fileno() >= 0:
            for descriptor in self.shards[1:]:
                os.close(descriptor)


def open_group(listen: Listen, index: int, plugin: str) -> ShardGroup:
    """Make the sockets of a UDP listener.

    The first one is bound before it has SO_REUSEPORT: so another program that has the address is
    found, also one of the same user that would share it, and one that comes later is refused
    unless it asks to share.

    Args:
        listen: what the settings say.
        index: the listener's number.
        plugin: the name of the plugin that serves it.

    Raises:
        ListenError: the machine refuses; nothing is left behind.
    """
    made: list[socket.socket] = []
    try:
        address: tuple[str, int] = (listen.parsed.host, listen.parsed.port)
        for number in range(listen.shards):
            made.append(_open_socket(listen))
            _bind(made[-1], address, is_first=not number)
            address = made[0].getsockname()[:2]
    except OSError as error:
        for each in made:
            each.close()
        raise listen_error(listen.address, error) from error
    view = Listener(index, f"udp://{describe(address)}", plugin)
    return ShardGroup(made[0], [each.detach() for each in made[1:]], view, str(listen.parsed))


def _open_socket(listen: Listen) -> socket.socket:
    family = socket.AF_INET6 if listen.parsed.family == "udp6" else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    if family == socket.AF_INET6:
        # Else [::]:53 would take 0.0.0.0:53 as well, depending on a sysctl (ipv6(7)).
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if listen.parsed.is_wildcard:  # which of the addresses was asked, for the answer
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
    return sock


def _bind(sock: socket.socket, address: tuple[str, int], *, is_first: bool) -> None:
    if not is_first:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(address)
    if is_first:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def open_shards(first: socket.socket, others: Sequence[int]) -> tuple[socket.socket, ...]:
    """Return the sockets of a group in a worker, which has inherited them; it closes them.

    Args:
        first: the first one, which is a socket object already.
        others: the descriptors of the others.
    """
    socks = (first, *(socket.socket(fileno=each) for each in others))
    for sock in socks:
        sock.setblocking(False)
    return socks
