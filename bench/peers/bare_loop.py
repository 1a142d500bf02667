"""Echo with the three calls that a server in Python cannot do without, and nothing else.

It has no errors, no back-pressure and no plugins: what it costs more than the floor in C is the
interpreter's, and no server in Python can cost less.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Callable

READ_BYTES = 65_536
EVENTS = 1000


def serve(answer: Callable[[bytes], bytes] | None = None) -> None:
    """Serve until killed; answer what is read with itself, or with what `answer` makes of it."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print("port", listener.getsockname()[1], flush=True)
    poller, door = select.epoll(), listener.fileno()
    poller.register(door, select.EPOLLIN)
    read, write = os.read, os.write
    while True:
        for fd, _mask in poller.poll(None, EVENTS):
            if fd == door:
                accepted = listener.accept()[0].detach()
                poller.register(accepted, select.EPOLLIN)
            elif data := read(fd, READ_BYTES):
                write(fd, data if answer is None else answer(data))
            else:
                os.close(fd)


if __name__ == "__main__":
    sys.exit(serve())
