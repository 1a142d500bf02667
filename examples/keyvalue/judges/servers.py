"""The servers that are judged: a memcached, and hosts."""

from __future__ import annotations

import getpass
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from host.testing import RunningHost

LOOPBACK = "127.0.0.1"
START_SECONDS = 20.0


@contextmanager
def memcached() -> Iterator[int]:
    """Run the memcached of this machine; yield its port, and end it."""
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
    command = ["memcached", "-u", getpass.getuser(), "-l", LOOPBACK, "-p", str(port), "-U", "0"]
    with subprocess.Popen(command) as process:
        try:
            _wait_for(port)
            yield port
        finally:
            process.terminate()


@contextmanager
def host(plugin: str) -> Iterator[RunningHost]:
    """Run a host with one worker and a plugin, on a free port; end it."""
    flags = ["--log-format", "json", "--plugin", plugin, "--workers", "1"]
    with RunningHost([*flags, "--listen", f"tcp://{LOOPBACK}:0={plugin}"]) as running:
        running.wait_for("host_ready")
        yield running
        running.stop()


def _wait_for(port: int) -> None:
    """Wait until somebody listens: memcached does not tell that it does."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((LOOPBACK, port), 1.0).close()
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return
