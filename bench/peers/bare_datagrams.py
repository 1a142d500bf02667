"""Echo of datagrams with the fewest calls that a server in Python can do with."""

from __future__ import annotations

import select
import socket

BATCH = 64


def main() -> None:
    """Serve."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    epoll = select.epoll()
    epoll.register(sock, select.EPOLLIN)
    print("port", sock.getsockname()[1], flush=True)
    poll, receive, send = epoll.poll, sock.recvfrom, sock.sendto
    while True:
        poll()
        try:
            for _ in range(BATCH):
                data, address = receive(65_535)
                send(data, address)
        except BlockingIOError:
            continue


if __name__ == "__main__":
    main()
