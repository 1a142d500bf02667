"""Messages to the service manager that has started this process: sd_notify(3)."""

from __future__ import annotations

import array
import os
import select
import socket
from collections.abc import MutableMapping

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
MOST_CHARACTERS = 500
"""How long words may be: systemd drops messages of more than 4,096 bytes."""
_NEVER = 20
"""So many digits has the number of microseconds that stands for never."""


class Notifier:
    """Sends messages to the socket of a service manager.

    Args:
        address: the path of that socket, or `@name` in the abstract namespace.
        watchdog_seconds: how often the service manager must hear of this process; None if it need
            not.
    """

    def __init__(self, address: str, watchdog_seconds: float | None = None) -> None:
        self.address, self.watchdog_seconds = address, watchdog_seconds
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setblocking(False)

    def send(self, message: str, descriptor: int | None = None) -> None:
        """Send a message of one or more lines.

        Args:
            message: the lines, without characters that UTF-8 has not.
            descriptor: the service manager gets a copy of it.

        Raises:
            BlockingIOError: too many messages wait there; nothing was sent.
            OSError: nobody listens there, or there is no such place.
        """
        where = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        passed = []
        if descriptor is not None:
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        self._sock.sendmsg([message.encode("utf-8", "replace")], passed, 0, where)

    def wait(self, seconds: float) -> None:
        """Wait until all messages so far are handled: sd_notify_barrier(3).

        Args:
            seconds: how long at most; a service manager may not know of this.

        Raises:
            OSError: as `send` does.
        """
        ours, theirs = os.pipe()
        try:
            try:
                self.send("BARRIER=1", theirs)
            finally:
                os.close(theirs)
            poller = select.poll()
            poller.register(ours, 0)  # POLLHUP comes in any case: the other end is closed there
            poller.poll(seconds * 1000)
        finally:
            os.close(ours)

    def close(self) -> None:
        """Send nothing any more; harmless if that was done."""
        self._sock.close()


def take(environ: MutableMapping[str, str] = os.environ, pid: int | None = None) -> Notifier | None:
    """Return what notifies the service manager, if there is one; the caller closes it.

    Args:
        environ: the variables that tell of it are taken out: messages of others would be taken for
            this process's.
        pid: that of this process, if left out.
    """
    address, microseconds, watched = (environ.pop(name, "") for name in _VARIABLES)
    if not address:
        return None
    seconds = None
    is_number = microseconds.isascii() and microseconds.isdigit() and len(microseconds) < _NEVER
    if is_number and watched in ("", str(pid or os.getpid())):
        seconds = int(microseconds) / 1e6
    return Notifier(address, seconds or None)
