"""Starts that are large or slow, and forks that the system refuses."""

from __future__ import annotations

import os
import signal
import time

from storm.rows import Trial, row
from support.address import connect
from support.hosting import CROWDED, SUPPORT

SLOW_FORKS = str(SUPPORT / "slow_forks.py")
SECONDS = 600.0


@row(
    43,
    "1,024 workers; 500 listeners; a fork that takes 60 ms; RLIMIT_NPROC reached at start and"
    " later",
    "each worker has its whole start time-out; the documented exit code",
)
def starts(trial: Trial) -> str:
    said = [
        # In the first turn eight are forked: the last of them must have its whole time, too.
        start(trial, SLOW_FORKS, 8, {"options.slow_forks.seconds": 0.4}, timeout=2.5),
        start(trial, "echo", trial.pick(32, 1024), {}, timeout=60.0),
        start(trial, "echo", 2, {}, timeout=60.0, listeners=trial.pick(50, 500)),
    ]
    if not trial.quick:
        options = {"options.slow_forks.seconds": 0.06}
        said.append(start(trial, SLOW_FORKS, 1024, options, timeout=60.0))
    host = trial.start(CROWDED, workers=16, ready=False)
    host.codes = {6}
    code = host.wait(20.0)
    causes = [each["cause"] for each in host.events("worker_start_failed")]
    trial.must(code == 6, f"no process at the start: exit code {code}")
    trial.must(len(causes) == 1 and "RLIMIT_NPROC" in causes[0], f"the reasons: {causes}")
    later = trial.start(CROWDED, workers=2, settings={"options.crowded.at": "death"})
    os.kill(later.workers[1], signal.SIGKILL)
    later.wait_for("fork_failed", count=2)
    with connect(later.address) as client:
        client.sendall(b"hello")
        trial.must(client.recv(100) == b"hello", "the other worker does not serve")
    return "; ".join([*said, "no process left at the start: exit code 6; later: the others serve"])


def start(
    trial: Trial,
    plugin: str,
    workers: int,
    settings: dict[str, float],
    *,
    timeout: float,
    listeners: int = 1,
) -> str:
    """Start a host of that size, and stop it; return what that took."""
    began = time.monotonic()
    host = trial.start(
        plugin,
        workers=workers,
        listen=("tcp4",) * listeners,
        settings={**settings, "lifecycle.start_timeout_seconds": timeout},
        ready=False,
    )
    host.wait_for("host_ready", seconds=SECONDS)
    took = time.monotonic() - began
    for address in (host.addresses[0], host.addresses[-1]):
        with connect(address) as client:
            client.sendall(b"hello")
            trial.must(client.recv(100) == b"hello", f"{address} is not served")
    trial.must(not host.events("worker_killed"), "a worker was killed at its start")
    trial.broken += host.finish(60.0)
    return f"{workers} workers, {listeners} listeners: ready after {took:.1f} s"
