"""Clients that do full TLS handshakes: `python -m bench.handshakes PORT AUTHORITY COUNT` in bursts.

Without that, `Handshakes` does them for as long as a slice is, and `bursts` has a process do them
beside something else.
"""

from __future__ import annotations

import select
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.clients import PATIENCE_SECONDS, LoadError, measured
from bench.results import Reading
from bench.servers import ROOT, Server, environment
from bench.tls_clients import HOST_NAME, connect

PROGRAM = "handshakes"
BURST_SECONDS = 0.25
"""From the start of one burst to that of the next."""


def burst(port: int, context: ssl.SSLContext, count: int) -> list[float]:
    """Do `count` handshakes at once, and close; return how long each took, in seconds.

    Raises:
        OSError: one has failed; TimeoutError, if the server does not answer.
    """
    with ExitStack() as stack:
        plain = [stack.enter_context(connect(port)) for _ in range(count)]
        poller, waiting, took = select.poll(), {}, []
        for sock in plain:
            sock.setblocking(False)
            client = context.wrap_socket(
                sock, server_hostname=HOST_NAME, do_handshake_on_connect=False
            )
            stack.enter_context(client)
            waiting[client.fileno()] = client
        began = time.monotonic()
        ready = list(waiting)
        while waiting:
            for fd in ready:
                try:
                    waiting[fd].do_handshake()
                except ssl.SSLWantReadError:
                    poller.register(fd, select.POLLIN)
                else:
                    del waiting[fd]
                    poller.register(fd, 0)
                    took.append(time.monotonic() - began)
            if waiting:
                ready = [fd for fd, _ in poller.poll(PATIENCE_SECONDS * 1000) if fd in waiting]
                if not ready:
                    raise TimeoutError("a handshake is not answered")
        return took


class Handshakes:
    """Clients that connect, do a full handshake and close, so many at a time.

    Args:
        server: what is asked.
        at_once: how many there are at a time.
        authority: the file with the certificate of who has issued the server's.
    """

    def __init__(self, server: Server, at_once: int, authority: str) -> None:
        self._server, self._at_once = server, at_once
        self._context = ssl.create_default_context(cafile=authority)

    def run(self, seconds: float) -> Reading:
        """Measure for about `seconds`."""
        try:
            return measured(
                self._server,
                seconds,
                lambda: burst(self._server.port, self._context, self._at_once),
            )
        except OSError as error:
            raise LoadError(f"{self._server.contender.name} does not answer: {error}") from None


@contextmanager
def bursts(server: Server, count: int, authority: str) -> Iterator[None]:
    """Have `count` handshakes begin at once, again and again, while the block runs.

    Raises:
        LoadError: one has failed.
    """
    command = [sys.executable, "-m", "bench.handshakes", str(server.port), authority, str(count)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=environment()
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdout.readline()  # the first one is done
        yield
    finally:
        process.stdin.close()
        failed = process.wait(PATIENCE_SECONDS)
        process.stdout.close()
    if failed:
        raise LoadError(f"a burst of handshakes with {server.contender.name} has failed")


def main(port: str, authority: str, count: str) -> None:
    """Burst until the end of the standard input."""
    context = ssl.create_default_context(cafile=authority)
    at = time.monotonic()
    while True:
        burst(int(port), context, int(count))
        print("done", flush=True)
        at += BURST_SECONDS
        if select.select([sys.stdin], [], [], max(0.0, at - time.monotonic()))[0]:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
