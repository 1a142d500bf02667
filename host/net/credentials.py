"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import socket
import struct

_CREDENTIALS = struct.Struct("3i")


def credentials(sock: socket.socket) -> tuple[int, int]:
    """Return pid and uid of the process at the other end of a Unix socket (unix(7), SO_PEERCRED).

    The kernel has noted them at connect() or listen(). The pid is 0 in another pid namespace.
    """
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(found)
    return pid, uid
