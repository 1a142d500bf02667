"""Runs the load programs of bench/load: opens connections once, then measures slice by slice."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

from bench import tools
from bench.proc import own_cpu_seconds
from bench.results import Reading
from bench.servers import Server

PATIENCE_SECONDS = 60.0
"""How long opening or the answers after a slice may take; the programs give up earlier."""


class LoadError(Exception):
    """A load program has failed; the text says how."""


class Clients(Protocol):
    """Clients of one server."""

    def run(self, seconds: float) -> Reading:
        """Measure for about so many seconds.

        Raises:
            LoadError: they could not.
        """


class Load:
    """Clients of one server; a context manager that closes their connections.

    Args:
        program: one of `clients`, `connects` and `fan`.
        arguments: as the comment at the top of its source says.

    Attributes:
        opened: how many connections it has opened, which stay open.
        arguments: what it was started with.
    """

    def __init__(self, program: str, server: Server, **arguments: int | str) -> None:
        self._server = server
        self.arguments = arguments
        given = [f"{name}={value}" for name, value in arguments.items()]
        self._process = subprocess.Popen(
            [str(tools.compiled()[program]), f"port={server.port}", *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._buffer = b""
        try:
            ready = self._answer(PATIENCE_SECONDS)
            self.opened = int(ready["opened"])
            if ready["errors"]:
                raise LoadError(f"could not connect: {ready['errors']}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, seconds: float) -> Reading:
        """Measure for `seconds`."""
        assert self._process.stdin is not None
        server_before, own_before = self._server.cpu_seconds(), own_cpu_seconds(self._process.pid)
        self._process.stdin.write(f"go {seconds:f}\n".encode())
        result = self._answer(seconds + PATIENCE_SECONDS)
        server_after, own_after = self._server.cpu_seconds(), own_cpu_seconds(self._process.pid)
        if not result["operations"]:
            raise LoadError(f"{self._server.contender.name} has answered nothing")
        return reading(result, server_after - server_before, own_after - own_before)

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise LoadError(f"the clients of {self._server.contender.name} do not answer")
            data = os.read(descriptor, 65_536)
            if not data:
                raise LoadError(f"the clients of {self._server.contender.name} have ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Close the connections."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def reading(result: dict[str, Any], server_seconds: float, load_seconds: float) -> Reading:
    """Turn what a load program answers into measures."""
    seconds, operations = result["seconds"], result["operations"]
    measured = {
        "operations": operations,
        "seconds": seconds,
        "rate": operations / seconds,
        "mib_per_second": result["bytes"] / seconds / 2**20,
        "p50_us": result["p50_us"],
        "p99_us": result["p99_us"],
        "p999_us": result["p999_us"],
        "server_cores": server_seconds / seconds,
        "load_cores": load_seconds / seconds,
        "errors": sum(result["errors"].values()),
    }
    if operations:
        measured["cpu_us"] = server_seconds / operations * 1e6
        measured["bytes_each"] = result["bytes"] / operations
    measured |= {f"errors_{kind}": count for kind, count in result["errors"].items()}
    return measured


def measured(server: Server, seconds: float, exchange: Callable[[], Sequence[float]]) -> Reading:
    """Have clients in Python exchange something again and again, for about `seconds`.

    Args:
        server: what they are clients of.
        seconds: how long.
        exchange: does it once; returns how long each answer took, in seconds.
    """
    server_before, own_before = server.cpu_seconds(), time.process_time()
    began, latencies = time.monotonic(), list[float]()
    took = 0.0
    while not latencies or took < seconds:
        latencies += exchange()
        took = time.monotonic() - began
    latencies.sort()
    result = {"operations": len(latencies), "seconds": took, "bytes": 0, "errors": {}}
    for key, part in (("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)):
        result[key] = latencies[int(len(latencies) * part)] * 1e6
    own = time.process_time() - own_before
    return reading(result, server.cpu_seconds() - server_before, own)
