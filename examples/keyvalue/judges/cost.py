"""CPU time of a worker for a request, beside an inline PING of the line protocol."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from host.testing import RunningHost
from judges.servers import host

SLICES = 15
"""So many slices, each for all kinds one after the other: what else runs meets all of them."""
ROUNDS_A_SLICE = 1000
VALUE = b"x" * 32
STORED = b"STORED\r\n"


@dataclass(slots=True)
class Kind:
    """A kind of request.

    Attributes:
        name: what it is called.
        running: the host that it is sent to.
        request: what is sent.
        size: how long the reply is.
        client: a connection.
        costs: microseconds of CPU for a request, of each slice.
    """

    name: str
    running: RunningHost
    request: bytes
    size: int
    client: socket.socket
    costs: list[float] = field(default_factory=list)

    def measure(self, depth: int) -> None:
        """Send requests, so many at a time, and note what each has cost."""
        before = _used(self.running)
        for _ in range(ROUNDS_A_SLICE):
            self.client.sendall(self.request * depth)
            missing = self.size * depth
            while missing:
                missing -= len(self.client.recv(65_536))
        self.costs.append((_used(self.running) - before) / (ROUNDS_A_SLICE * depth) / 1000)


def rows(depth: int) -> list[tuple[str, float, float]]:
    """Return the name of each kind, its microseconds, and how many times those of PING they are."""
    with host("line") as line, host("keyvalue") as keyvalue:
        value = b"VALUE key 0 %d\r\n%b\r\n" % (len(VALUE), VALUE)
        asked = (
            ("`PING` of `line`", line, b"PING\r\n", b"+PONG\r\n"),
            ("`set`", keyvalue, b"set key 0 0 %d\r\n%b\r\n" % (len(VALUE), VALUE), STORED),
            ("`get`, found", keyvalue, b"get key\r\n", value + b"END\r\n"),
            ("`get`, not found", keyvalue, b"get nix\r\n", b"END\r\n"),
            ("`get` of 8 keys", keyvalue, b"get" + b" key" * 8 + b"\r\n", value * 8 + b"END\r\n"),
            ("`touch`", keyvalue, b"touch key 0\r\n", b"TOUCHED\r\n"),
            ("`incr`", keyvalue, b"incr n 0\r\n", b"1\r\n"),
        )
        kinds = [
            Kind(name, running, request, len(reply), running.connect())
            for name, running, request, reply in asked
        ]
        kinds[1].client.sendall(b"set n 0 0 1\r\n1\r\n")
        kinds[1].client.recv(len(STORED))
        for _ in range(SLICES):
            for kind in kinds:
                kind.measure(depth)
        for kind in kinds:
            kind.client.close()
    ping = kinds[0].costs
    return [
        (
            kind.name,
            median(kind.costs),
            median(cost / other for cost, other in zip(kind.costs, ping, strict=True)),
        )
        for kind in kinds
    ]


def _used(running: RunningHost) -> int:
    """Return the CPU time of the worker, in nanoseconds (/proc/PID/schedstat)."""
    (pid,) = running.workers.values()
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])
