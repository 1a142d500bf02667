"""Reloads of a host that root has started and that has become another user."""

from __future__ import annotations

from pathlib import Path

from storm.hosts import POLITE
from storm.reloading import only_one_generation, reload_once, reloads_exist
from storm.rows import SkippedError, Trial, row
from support.ordinary import NAME, NOBODY, UnreachableError, free_reserved_port, ordinary
from support.processes import children

FIELDS = ("Uid", "Gid", "CapPrm", "CapEff", "CapInh", "CapAmb")


def rights(pid: int) -> set[str]:
    """Return the users, groups and sets of capabilities of a process (proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return {word for field in FIELDS for word in found[field].split()}


@row(
    46,
    "200 reloads under load of a host on a port below 1024 that root has started as nobody",
    "0 failed, 0 cut; no process is root's or has a capability, at any time",
)
def reloads_as_nobody(trial: Trial) -> str:
    reloads_exist()
    try:
        with ordinary() as nobody:
            return _reload(trial, nobody.python, nobody.env)
    except UnreachableError as error:
        raise SkippedError(str(error)) from None


def _reload(trial: Trial, python: str, env: dict[str, str]) -> str:
    address = f"tcp://127.0.0.1:{free_reserved_port()}"
    flags = ("--user", NAME, "--listen", address)
    host = trial.start(POLITE, listen=(), flags=flags, python=python, env=env)
    load = trial.load(host.address)
    load.under_way()
    took, nothing = [], {str(NOBODY), f"{0:016x}"}
    for _ in trial.rounds(range(5), range(200), 1.0):
        took.append(reload_once(host))
        for pid in (host.pid, *host.workers.values()):
            found = rights(pid)
            trial.must(found == nothing, f"process {pid} has {found}")
    trial.must(only_one_generation(host, 4), f"processes left: {children(host.pid)}")
    result = load.end(drain=1.0)
    trial.must(not result.failed, f"failures: {result.causes()}")
    trial.must(not host.events("connections_cut"), "connections were cut")
    trial.must(not host.events("worker_died"), "a worker died")
    took.sort()
    return (
        f"{len(took)} reloads, {result.served:,} served, {result.failed} failed; a reload takes"
        f" {took[len(took) // 2]:.2f} s (median)"
    )
