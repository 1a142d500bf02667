"""Clients that are redis-benchmark, which comes with Redis."""

from __future__ import annotations

import re
import shutil
import subprocess
import time

from bench.clients import PATIENCE_SECONDS, LoadError
from bench.results import Reading
from bench.servers import Server

PROGRAM = "redis-benchmark"
_FIRST = 2000


class RedisBenchmark:
    """Runs redis-benchmark once for each slice, with as many requests as the last slice tells.

    Each run opens and closes its connections; so many requests are sent that it does not matter.

    Args:
        server: what is asked.
        test: the name of its test, `ping_inline` or `ping_mbulk`.
        connections: how many there are at once.
        depth: how many requests each sends before it waits for the replies.
    """

    def __init__(self, server: Server, test: str, connections: int, depth: int) -> None:
        if shutil.which(PROGRAM) is None:
            raise LoadError(f"{PROGRAM} is not installed")
        self._server = server
        self._command = [PROGRAM, "-h", "127.0.0.1", "-p", str(server.port), "-t", test]
        self._command += ["-c", str(connections), "-P", str(depth), "--csv"]
        self._rate = 0.0
        self._depth = depth

    def run(self, seconds: float) -> Reading:
        """Measure for about `seconds`."""
        count = max(int(self._rate * seconds), _FIRST) // self._depth * self._depth
        before, began = self._server.cpu_seconds(), time.monotonic()
        command = [*self._command, "-n", str(count)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS + 10 * seconds,
            check=False,
        )
        took, used = time.monotonic() - began, self._server.cpu_seconds() - before
        values = re.findall(r'"([^"]*)"', done.stdout.strip().rpartition("\n")[2])
        if done.returncode or len(values) < 7:
            name = self._server.contender.name
            raise LoadError(f"{PROGRAM} failed with {name}: {done.stderr or done.stdout}")
        # test, requests a second, then in milliseconds: average, minimum, p50, p95, p99, maximum
        self._rate = float(values[1])
        return {
            "operations": count,
            "seconds": took,
            "rate": self._rate,
            "cpu_us": used / count * 1e6,
            "p50_us": float(values[4]) * 1e3,
            "p99_us": float(values[6]) * 1e3,
            "server_cores": used / took,
            "errors": 0,
        }
