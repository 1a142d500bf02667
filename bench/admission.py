"""What the limits for clients cost each connection: `python -m bench.admission`.

Hosts of one worker each, with and without limits, are asked in turn; each takes connections that
are closed at once, and their worker's CPU time is divided by their number. The least of all rounds
counts: whatever else the machine does only adds to it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import ExitStack

from host.runtime.usage import cpu_seconds
from host.testing import RunningHost

ROUNDS, CONNECTIONS, BATCH = 20, 2000, 50
KINDS: Mapping[str, Mapping[str, int]] = {
    "no limit": {},
    "max_per_client": {"limits.max_per_client": 1000},
    "rate_per_client": {"limits.rate_per_client": 10_000},
    "both": {"limits.max_per_client": 1000, "limits.rate_per_client": 10_000},
}


def start(number: int, settings: Mapping[str, int]) -> RunningHost:
    """Start a host of one worker; the caller ends it."""
    flags = ["--plugin", "echo", "--listen", "tcp://127.0.0.1:0", "--workers", "1"]
    flags += ["--log-format", "json", "--name", f"bench-admission-{os.getpid()}-{number}"]
    for key, value in settings.items():
        flags += ["--set", f"{key}={value}"]
    return RunningHost(flags)


def microseconds(host: RunningHost) -> float:
    """Return the worker's CPU time for one connection, in microseconds."""
    [ready] = host.events("worker_ready")
    before = cpu_seconds(ready["pid"])
    for _ in range(CONNECTIONS // BATCH):
        socks = [socket.create_connection(("127.0.0.1", host.port)) for _ in range(BATCH)]
        for sock in socks:
            sock.shutdown(socket.SHUT_WR)
        for sock in socks:
            if sock.recv(1):
                raise RuntimeError("the host has sent something unasked")
            sock.close()
    after = cpu_seconds(ready["pid"])
    if before is None or after is None:
        raise RuntimeError("the worker has ended")
    return (after - before) / CONNECTIONS * 1e6


def main() -> None:
    """Measure all, and print a table."""
    with ExitStack() as stack:
        hosts = {}
        for number, (kind, settings) in enumerate(KINDS.items()):
            hosts[kind] = stack.enter_context(start(number, settings))
            hosts[kind].wait_for("host_ready")
        rounds = [{kind: microseconds(host) for kind, host in hosts.items()} for _ in range(ROUNDS)]
    least = {kind: min(each[kind] for each in rounds) for kind in hosts}
    for kind, taken in least.items():
        print(f"{kind:<16} {taken:6.1f} µs a connection, {taken - least['no limit']:+5.1f} µs")


if __name__ == "__main__":
    main()
