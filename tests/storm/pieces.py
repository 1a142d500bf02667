"""Many of the smallest requests in one piece."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from socket import socket

from storm.hosts import StormHost
from storm.load import pass_time
from storm.peers import OTHERS, compared, unhandled
from storm.rows import Trial, row
from support.address import connect

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "keyvalue"
KEYVALUE = "prefork_keyvalue.plugin:KeyValue"
FEW, MANY_BYTES = 16, 65_536
LINE = {
    "inline": (b"PING\r\n", b"+PONG\r\n"),
    "arrays": (b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n"),
    "arrays and lines": (b"PING\r\n*1\r\n$4\r\nPING\r\n", b"+PONG\r\n+PONG\r\n"),
    "arrays of two": (b"*2\r\n$4\r\nECHO\r\n$1\r\na\r\n", b"+a\r\n"),
    "ends of lines": (b"\n", b"-ERR empty line; try HELP\r\n"),
}
SETS = {
    "set": (b"set a 0 0 1\r\nx\r\n", b"STORED\r\n"),
    "set and get": (b"set a 0 0 1\r\nx\r\nget b\r\n", b"STORED\r\nEND\r\n"),
}
"""The smallest requests of each kind, and their replies."""


@row(
    32,
    "64 KiB of the smallest requests in one piece, each kind that `line` and the key-value example"
    " know, from 1, 4 and 16 clients",
    "CPU per request at most 1.5 × that of 16 in a piece; p99 of the others < 2 ×; nobody killed",
)
def pieces(trial: Trial) -> str:
    said, worst = [], 0.0
    for commands, kinds in (("line", LINE), (KEYVALUE, SETS)):
        host = trial.start(
            "line",
            workers=1,  # the key-value example has one
            listen=("tcp4=line", "tcp4=echo"),
            flags=("--plugin", "echo", *(() if commands == "line" else ("--plugin", commands))),
            settings={"options.line.commands": f'["{commands}"]'},
            env={"PYTHONPATH": str(EXAMPLE)},
        )
        address, echo = host.addresses
        load = trial.load(echo, **OTHERS)
        load.under_way()
        before = pass_time(trial.pick(1.0, 10.0))
        began = time.monotonic()
        for kind, (request, reply) in kinds.items():
            ratio = growth(trial, host, address, request, reply)
            trial.fast(ratio, 1.5, f"{kind}: CPU per request, times that of {FEW} in a piece")
            worst = max(worst, ratio)
        during = (began, time.monotonic())
        one, other = load.waits("loops", [before, during])
        others = load.end()
        trial.must(not others.failed, f"others failed: {others.causes()}")
        unhandled(trial, host)
        said.append(compared(trial, one, other, 2.0))
    return f"{len(LINE | SETS)} kinds: at most {worst:.2f} times the CPU; {'; '.join(said)}"


def growth(trial: Trial, host: StormHost, address: str, request: bytes, reply: bytes) -> float:
    """Return CPU per request in pieces of 64 KiB over that in pieces of 16 requests, the worst."""
    many = MANY_BYTES // len(request)
    total = trial.pick(1, 10) * many
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(address, 60.0)) for _ in range(16)]
        send(clients[:1], request * FEW, reply * FEW, 10)
        few = cost(host, clients[:1], request * FEW, reply * FEW, total // FEW) / FEW
        return max(
            cost(host, clients[:count], request * many, reply * many, total // many) / many / few
            for count in trial.pick((1,), (1, 4, 16))
        )


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
