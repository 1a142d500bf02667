"""Runs the host on a kernel that does not tell how many connections wait (or so it seems)."""

from __future__ import annotations

import errno
import os
import socket
from typing import NoReturn

from host.cli.main import main
from host.net import queue_length


def _silent(_sock: socket.socket) -> NoReturn:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


queue_length._tcp_queue = _silent
queue_length._unix_queue = _silent

if __name__ == "__main__":
    main()
