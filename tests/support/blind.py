"""Runs the host on a kernel that does not tell how many connections wait (or so it seems)."""

from __future__ import annotations

import errno
import os
import socket
from typing import NoReturn

from host.cli.main import main
from host.net import listeners


def _silent(_sock: socket.socket) -> NoReturn:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


listeners._tcp_queue = _silent
listeners._unix_queue = _silent

if __name__ == "__main__":
    main()
