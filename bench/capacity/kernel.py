"""Memory that the kernel takes for a TCP connection which does nothing."""

from __future__ import annotations

import time
from pathlib import Path

from bench.clients import Load
from bench.contenders import ours
from bench.proc import sockets
from bench.servers import Server
from bench.workloads.idle import COUNT, SETTLE_SECONDS, WARMING


def measure(rounds: int, count: int = COUNT) -> list[float]:
    """Return in KiB what a connection's end in a host takes in the kernel, each time measured.

    The client's end is on the same machine and takes as much: a socket, its file, its place in an
    epoll instance. So it is half of what is measured, which is the kernel's slabs (proc_meminfo(5))
    and so has in it whatever else the machine does meanwhile.

    Args:
        rounds: how often it is measured.
        count: with how many connections.
    """
    found = []
    for _ in range(rounds):
        with Server(ours("echo")) as server:
            listening = sum(sockets(server.pid).values())
            with Load("clients", server, connections=WARMING):
                server.wait_for_sockets(listening + WARMING)
                before = _slabs()
                with Load("clients", server, connections=count):
                    server.wait_for_sockets(listening + WARMING + count, 60.0)
                    time.sleep(SETTLE_SECONDS)
                    found.append((_slabs() - before) / count / 2)
    return found


def _slabs() -> int:
    """Return the KiB of all slabs."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            return int(line.split()[1])
    raise OSError("/proc/meminfo has no line Slab")
