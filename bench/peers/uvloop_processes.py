"""Echo with several uvloop processes that share a listening socket, which they inherit."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

import uvloop

from bench.peers.asyncio_protocol import BACKLOG, Echo


async def serve(listener: socket.socket) -> None:
    """Serve on a socket that others serve on, too."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, sock=listener, backlog=BACKLOG)
    async with server:
        await server.serve_forever()


def main(count: int) -> None:
    """Start the processes and wait until told to stop."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
            uvloop.run(serve(listener))
            return
        children.append(child)
    print("port", listener.getsockname()[1], flush=True)
    signal.sigwait([signal.SIGTERM])
    for child in children:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
