"""A service manager that keeps the listening sockets of a supervisor that is killed."""

from __future__ import annotations

import functools
import signal
import time

from storm.hosts import POLITE, StormHost, soon
from storm.rows import Trial, row
from support.processes import of_session
from support.service_manager import FakeManager


def start(trial: Trial, *flags: str, listen: tuple[str, ...], **launch: object) -> StormHost:
    """Start a host as the service manager does, which names the plugin among the flags."""
    return trial.start(POLITE, flags=flags, listen=listen, **launch)  # type: ignore[arg-type]


@row(
    45,
    "supervisor SIGKILLed under load, its listening sockets kept by a service manager, 100 times",
    "nobody refused; who waits in the backlog is served by the next host, within 2 s",
)
def crashes(trial: Trial) -> str:
    # The port is kept, too, so the clients go on with the address of the first host.
    manager = FakeManager(trial.folder, functools.partial(start, trial))  # type: ignore[arg-type]
    try:
        host = manager.start("--listen", "tcp://127.0.0.1:0")
        manager.wait_for("READY=1")
        address, longest, rounds = host.address, 0.0, 0
        load = trial.load(address, sessions=20)
        load.under_way()
        for _ in trial.rounds(range(3), range(100)):
            rounds += 1
            host.codes = {-signal.SIGKILL}
            heard = len(manager.messages)
            began = time.monotonic()
            host.signal(signal.SIGKILL)
            host.wait()
            soon(functools.partial(_all_gone, host), 5.0)
            trial.broken += host.finish()
            host = manager.start("--listen", "tcp://127.0.0.1:0")
            longest = max(longest, time.monotonic() - began)
            trial.must(host.addresses == [address], f"another address: {host.addresses}")
            manager.wait_for("READY=1", after=heard)
        result = load.end()
        trial.must(not result.counts["refused"], f"refused: {result.causes()}")
        trial.must(not result.counts["timeout"], f"not served: {result.causes()}")
        trial.fast(longest, 2.0, "the next host was ready after")
        trial.broken += host.finish()
    finally:
        manager.close()
    return (
        f"{rounds} crashes, {result.served:,} served, 0 refused; cut with their supervisor:"
        f" {result.failed}; ready again after {longest:.2f} s at the latest"
    )


def _all_gone(host: StormHost) -> bool:
    return not of_session(host.pid)
