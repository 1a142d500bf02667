"""The listening sockets of a plugin, as libraries for asyncio look at them."""

from __future__ import annotations

import os
import socket
from typing import Any

from host.interfaces import Listener


class ListeningSocket:
    """A listening socket of the host, for looking at it, and for `create_server(sock=…)`.

    All workers share it, so nothing can be done to it here.

    Args:
        listener: the listener that it belongs to.
        sock: the worker's copy, which the host closes when the worker drains.

    Attributes:
        listener: the listener.
        family, type, proto: as those of `socket.socket`.
    """

    def __init__(self, listener: Listener, sock: socket.socket) -> None:
        self.listener, self._socket = listener, sock
        self.family, self.type, self.proto = sock.family, sock.type, sock.proto
        self._name = sock.getsockname()

    def __repr__(self) -> str:
        return f"<listening socket {self.listener.address}>"

    def fileno(self) -> int:
        """Return the descriptor, which stays the host's; -1 once the worker drains."""
        return self._socket.fileno()

    def getsockname(self) -> Any:
        """Return the address that it is bound to, as `socket.socket` does."""
        return self._name

    def getsockopt(self, *args: int) -> int | bytes:
        """Return an option, as `socket.socket` does.

        Raises:
            OSError: there is no such option, or the worker drains.
        """
        return self._socket.getsockopt(*args)

    def is_same(self, sock: Any) -> bool:
        """Tell whether another object stands for the same socket.

        Each socket has an inode number of its own, which all of its descriptors share (stat(2)).
        """
        if isinstance(sock, ListeningSocket):
            return sock.listener == self.listener
        try:
            return os.path.samestat(os.fstat(sock.fileno()), os.fstat(self.fileno()))
        except OSError:  # one of them is closed
            return False
