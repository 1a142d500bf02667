"""Whether clients of listening TCP sockets are in the middle of a handshake: sock_diag(7)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator

from host.net import sock_diag

_SYN_RECV = 1 << 3  # TCP_SYN_RECV of linux/tcp.h


def under_way(sockets: Iterable[socket.socket]) -> bool:
    """Tell whether a client of these listeners was answered and has not confirmed yet (SYN_RECV).

    With SYN cookies the kernel keeps nothing of such clients, so there is none to be seen. The
    same if the kernel does not answer. All addresses of a port count as the listener's.
    """
    ports: dict[int, set[int]] = {}
    for sock in sockets:
        if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.fileno() >= 0:
            ports.setdefault(sock.family, set()).add(sock.getsockname()[1])
    try:
        return any(port in wanted for family, wanted in ports.items() for port in _ports_of(family))
    except OSError:
        return False


def _ports_of(family: int) -> Iterator[int]:
    """Yield the local port of each handshake that is under way on this machine.

    Raises:
        OSError: the kernel does not answer.
    """
    # struct inet_diag_req_v2: family, protocol, extensions, padding, states; any socket.
    body = struct.pack("=BBBBI48x", family, socket.IPPROTO_TCP, 0, 0, _SYN_RECV)
    for answer in sock_diag.dump(body):
        # struct inet_diag_msg: four bytes, then the local port.
        yield struct.unpack_from("!H", answer, 4)[0]
