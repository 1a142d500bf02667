"""Lines with what a server in Python cannot do without, and one call for each line.

It is to lines what `bare_loop` is to echo: it knows no errors, no unfinished lines and no plugins
that write by themselves. What it costs more than answers joined in one expression is the calls'.
"""

from __future__ import annotations

import os
import select
import socket
import sys

READ_BYTES = 65_536
EVENTS = 1000


def answer(line: bytes) -> bytes:
    """Return the reply to a line."""
    return line + b"\n"


def main() -> None:
    """Serve until killed; each read is to end with a line."""
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
                lines = data.split(b"\n")
                assert not lines.pop()
                write(fd, b"".join([answer(line) for line in lines]))
            else:
                os.close(fd)


if __name__ == "__main__":
    sys.exit(main())
