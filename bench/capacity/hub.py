"""CPU time of the supervisor for each message of the bus, with one worker or more that hear it."""

from __future__ import annotations

from bench.clients import Load
from bench.contenders import ours_with
from bench.proc import own_cpu_seconds
from bench.servers import Server

WORKERS = (1, 2, 4, 8)
CONNECTIONS = 50
SIZE = 64


def measure(rounds: int, seconds: float = 2.0) -> dict[str, list[float]]:
    """Measure the supervisor; return its CPU times in µs a message, by the number of workers.

    Args:
        rounds: how often each case is measured.
        seconds: how long each time.
    """
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for workers in WORKERS:
            with (
                Server(ours_with("over_the_bus.py", workers=workers)) as server,
                Load("clients", server, connections=CONNECTIONS, size=SIZE) as load,
            ):
                before = own_cpu_seconds(server.pid)
                done = load.run(seconds)["operations"]
                took = (own_cpu_seconds(server.pid) - before) / done * 1e6
            found.setdefault(str(workers), []).append(took)
    return found
