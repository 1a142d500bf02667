"""Many of the smallest requests in one piece."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

from storm.hosts import StormHost
from storm.load import Load, Span
from storm.peers import OTHERS, unhandled
from storm.rows import Trial, row
from support.address import connect

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "keyvalue"
KEYVALUE = "prefork_keyvalue.plugin:KeyValue"
FEW, MANY_BYTES = 16, 65_536
LINE = {
    "inline": (b"PING\r\n", b"+PONG\r\n"),
    "arrays": (b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
    "arrays and lines": (b"PING\r\n*1\r\n$4\r\nPING\r\n", b"+PONG\r\n+PONG\r\n"),
    "arrays of two": (b"*2\r\n$4\r\nECHO\r\n$1\r\na\r\n", b"$1\r\na\r\n"),
    "empty lines": (b"\nPING\r\n", b"+PONG\r\n"),
}
SETS = {
    "set": (b"set a 0 0 1\r\nx\r\n", b"STORED\r\n"),
    "set and get": (b"set a 0 0 1\r\nx\r\nget b\r\n", b"STORED\r\nEND\r\n"),
}
"""The smallest requests of each kind, and their replies."""


@dataclass(slots=True)
class Spans:
    """When clients sent their requests 16 at a time, and when 64 KiB of them."""

    few: list[Span] = field(default_factory=list)
    many: list[Span] = field(default_factory=list)


@row(
    32,
    "64 KiB of the smallest requests in one piece, each kind that `line` and the key-value example"
    " know, from 1, 4 and 16 clients",
    "CPU per request at most 1.5 × that of 16 in a piece; p99 of the others < 2 × that while the"
    " same clients send the same requests 16 at a time; nobody killed",
)
def pieces(trial: Trial) -> str:
    said, worst = [], 0.0
    for part, protocol, kinds in ((0.6, "line", LINE), (1.0, KEYVALUE, SETS)):
        host = trial.start(
            protocol,
            workers=1,  # the key-value example has one
            listen=(f"tcp4={protocol}", "tcp4=echo"),
            flags=("--plugin", "echo"),
            env={"PYTHONPATH": str(EXAMPLE)},
        )
        address, echo = host.addresses
        load = trial.load(echo, **OTHERS)
        load.under_way()
        spans: dict[int, Spans] = {count: Spans() for count in trial.pick((1,), (1, 4, 16))}
        for _ in trial.rounds(range(1), range(2), part):
            for kind, pair in kinds.items():
                ratio = growth(trial, host, address, pair, spans)
                trial.fast(ratio, 1.5, f"{kind}: CPU per request, times that of {FEW} in a piece")
                worst = max(worst, ratio)
        said.append(waits(trial, load, spans))
        others = load.end()
        trial.must(not others.failed, f"others failed: {others.causes()}")
        unhandled(trial, host)
    return f"{len(LINE | SETS)} kinds: at most {worst:.2f} times the CPU; {'; '.join(said)}"


def waits(trial: Trial, load: Load, spans: dict[int, Spans]) -> str:
    """Hold the others' p99 during large pieces against that during the same work in small ones.

    An idle worker would say nothing: whoever comes to a busy one waits, whatever keeps it busy.
    """
    few = load.pooled("loops", [each.few for each in spans.values()])
    many = load.pooled("loops", [each.many for each in spans.values()])
    said = []
    for count, one, other in zip(spans, few, many, strict=True):
        ratio = other.p99 / max(one.p99, 1e-4)
        trial.fast(ratio, 2.0, f"p99 of the others beside {count} clients, times that of {FEW}")
        said.append(f"{one.p99 * 1000:.1f} → {other.p99 * 1000:.1f} ms ({count})")
    return f"p99 of the others {', '.join(said)}"


def growth(
    trial: Trial,
    host: StormHost,
    address: str,
    pair: tuple[bytes, bytes],
    spans: dict[int, Spans],
) -> float:
    """Return CPU per request in pieces of 64 KiB over that in pieces of 16 requests, the worst.

    Args:
        trial: tells how often.
        host: the host.
        address: where the clients connect.
        pair: the request and its reply.
        spans: when so many clients sent, which is added here.
    """
    request, reply = pair
    many, ratios = MANY_BYTES // len(request), []
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(address, 60.0)) for _ in range(16)]
        send(clients[:1], request * FEW, reply * FEW, 10)
        for count, when in spans.items():
            some, times = clients[:count], trial.pick(1, 16) // count
            began = time.monotonic()
            few = cost(host, some, request * FEW, reply * FEW, times * many // FEW) / FEW
            between = time.monotonic()
            ratios.append(cost(host, some, request * many, reply * many, times) / many / few)
            when.few.append((began, between))
            when.many.append((between, time.monotonic()))
    return max(ratios)


def cost(host: StormHost, clients: list[socket], piece: bytes, reply: bytes, times: int) -> float:
    """Return the CPU time of the workers for a piece, in seconds."""
    before = used(host)
    send(clients, piece, reply, times)
    return (used(host) - before) / (times * len(clients))


def send(clients: list[socket], piece: bytes, reply: bytes, times: int) -> None:
    """Send a piece from all clients at once, so many times, and take the replies."""
    for _ in range(times):
        for client in clients:
            client.sendall(piece)
        for client in clients:
            missing = len(reply)
            while missing:
                data = client.recv(65_536)
                assert data, "the connection has ended"
                missing -= len(data)


def used(host: StormHost) -> float:
    """Return the CPU time of all workers, in seconds (/proc/PID/schedstat)."""
    paths = [Path(f"/proc/{pid}/schedstat") for pid in host.workers.values()]
    return sum(int(path.read_text().split()[0]) for path in paths) / 1e9
