"""Reloads that fail after the exec, and supervisors that are killed at any moment."""

from __future__ import annotations

import errno
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from host.control.client import ask
from storm.hosts import POLITE, StormHost, soon
from storm.reloading import reload_once, reloads_exist
from storm.rows import Trial, row
from support.late_failures import LATE
from support.processes import of_session
from support.targets import parse

SETTINGS = {"lifecycle.start_timeout_seconds": 4.0, "limits.max_connections_per_worker": 2_000}


@row(
    36,
    f"reload to plugins that load in the rehearsal and then fail in {len(LATE)} ways",
    "old workers serve, all settings hold, reason in log and status; the next good reload works",
)
def failing_late(trial: Trial) -> str:
    reloads_exist()
    plugin = trial.folder / "served.py"
    good = Path(POLITE).read_text()
    plugin.write_text(good)
    host = trial.start(str(plugin), workers=2, settings=SETTINGS)
    load = trial.load(host.address, sessions=20, every=0.05, pause=0.005)
    load.under_way()
    before = settings_of(host)
    chosen = list(LATE.items())[: trial.pick(3, len(LATE))]
    for name, failure in chosen:
        plugin.write_text(good + failure.code(host.pid))
        mark = host.mark()
        host.signal(signal.SIGHUP)
        failed = host.wait_for("generation_failed", since=mark)
        said = ask(host.name, "status", {}, 10.0)["last_reload"]["reason"]
        told = f"{failed['reason']} {failed['details']}"
        trial.must(
            failure.phrase in told, f"{name}: {failure.phrase!r} is not in the log: {told[:200]!r}"
        )
        trial.must(
            failure.phrase in said,
            f"{name}: {failure.phrase!r} is not in the status: {said[:200]!r}",
        )
        trial.must(settings_of(host) == before, f"{name}: settings have changed")
        plugin.write_text(good)
        reload_once(host)
    result = load.end(drain=1.0)
    trial.must(not result.failed, f"failures: {result.causes()}")
    trial.must(not host.events("worker_died"), "a worker died")
    return f"{len(chosen)} failures, {result.served:,} served, {result.failed} failed"


def settings_of(host: StormHost) -> Any:
    """Return the settings that a host runs with."""
    return ask(host.name, "applied", {}, 10.0)["settings"]


@row(
    37,
    "supervisor SIGKILLed at any moment of a start, a reload or a stop, 200 times; plugins whose"
    " import takes 20 s",
    "every descendant gone within 1 s, port free",
)
def killed_at_any_moment(trial: Trial) -> str:
    plugin = trial.folder / "served.py"
    good = Path(POLITE).read_text()
    longest, rounds = 0.0, 0
    for turn in trial.rounds(range(6), range(200)):
        rounds += 1
        plugin.write_text(good)
        moment = ("start", "reload", "stop")[turn % 3]
        host = trial.start(str(plugin), workers=3, ready=moment != "start")
        host.codes = {-signal.SIGKILL}
        if moment == "reload":
            if turn % 2:
                plugin.write_text(good + "import time\ntime.sleep(20)\n")
            host.signal(signal.SIGHUP)
        elif moment == "stop":
            host.codes.add(0)
            host.signal(signal.SIGTERM)
        time.sleep(trial.random.uniform(0.0, 1.0))
        addresses = host.addresses
        with suppress(ProcessLookupError):
            host.signal(signal.SIGKILL)
        began = time.monotonic()
        gone = soon(lambda pid=host.pid: not living(pid), 5.0)
        longest = max(longest, time.monotonic() - began)
        trial.must(gone, f"{moment}, round {turn}: left over: {living(host.pid)}")
        host.wait()
        for address in addresses:
            family, target = parse(address)
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                free = probe.connect_ex(target) == errno.ECONNREFUSED
                trial.must(free, f"{moment}, round {turn}: somebody still listens")
        trial.broken += host.finish()
    trial.fast(longest, 1.0, "the last one was gone after")
    return f"{rounds} rounds: all gone after {longest * 1000:.0f} ms at most, no address in use"


def living(session: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    return [one.pid for one in of_session(session) if one.state != "Z"]
