"""System calls that fail for no fault of the host: what the kernel may answer at any time."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from storm.hosts import POLITE, StormHost, soon
from storm.rows import Trial, row
from storm.tracing import failing, noted
from support.hosting import Load
from support.processes import children

ACCEPT_ERRORS = (
    "ECONNABORTED",
    "ENOBUFS",
    "ENOMEM",
    "EMFILE",
    "ENFILE",
    "EPERM",
    "EPROTO",
    "EINTR",
    "ENETDOWN",
    "EHOSTUNREACH",
)
UNSEEN = {"EINTR"}
"""What Python deals with by itself (PEP 475)."""


@row(
    11,
    "every second accept4 fails: ECONNABORTED, ENOBUFS, ENOMEM, EMFILE, ENFILE, EPERM, EPROTO,"
    " EINTR, ENETDOWN, EHOSTUNREACH",
    "no worker exits, nobody stranded, one rate-limited record each",
)
def accept_errors(trial: Trial) -> str:
    host = trial.start(POLITE, workers=2)
    clients = trial.bursts()
    records: Counter[str] = Counter()
    size, rounds = 20, trial.pick(1, 10)
    longest = 0.0
    for error in ACCEPT_ERRORS * rounds:
        mark = host.mark()
        with failing(host.workers.values(), "accept4", error, "1+2"):
            result = clients.burst(host.address, size)
        trial.must(not result["failures"], f"{error}: {result['failures']}")
        longest = max([longest, *result["waits"]])
        clients.close()
        told = [event["error"].split()[0] for event in host.events("accept_failed", since=mark)]
        trial.must(set(told) <= {error}, f"{error} was told as {set(told)}")
        records.update(told)
    for error in ACCEPT_ERRORS:
        if error not in UNSEEN:
            trial.must(records[error] >= 1, f"no record of {error}")
            # Ten seconds apart, in each of two workers.
            trial.must(records[error] <= 2 * rounds, f"{records[error]} records of {error}")
    died = host.events("worker_died")
    trial.must(not died, f"workers died: {died}")
    return (
        f"{len(ACCEPT_ERRORS)} errors, {size * rounds * len(ACCEPT_ERRORS)} connects: 0 workers"
        f" died, {sum(records.values())} records, longest wait {longest:.2f} s"
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """One system call that fails in one process.

    Attributes:
        where: `supervisor` or `workers`.
        calls: the system calls.
        error: the errno.
        when: which of the calls fail; `ADD 1` is the first that strace shows with `_ADD`, found
            out beforehand.
        provoke: makes the process call it.
        may_fail: how many connections it may cost.
        event: an event that tells of it.
        listen: what the host listens on.
    """

    where: str
    calls: str
    error: str
    when: str
    provoke: Callable[[Trial, StormHost, Load], int]
    may_fail: int = 0
    event: str | None = None
    listen: str = "tcp4"


def death(trial: Trial, host: StormHost, _clients: Load) -> int:
    """Have a worker replaced."""
    mark = host.mark()
    host.kill_worker(0, signal.SIGKILL)
    host.wait_for("worker_died", since=mark)
    trial.must(
        soon(lambda: bool(host.events("worker_ready", since=mark, slot=0)), 10.0),
        "the slot was not filled again",
    )
    return 0


def burst(trial: Trial, host: StormHost, clients: Load) -> int:
    """Have connections served; return how many failed."""
    result = clients.burst(host.address, 40, group="burst")
    clients.close(group="burst")
    stranded = result["failures"].get("timeout", 0)
    trial.must(not stranded, f"{stranded} stranded")
    return sum(result["failures"].values())


def talk(trial: Trial, _host: StormHost, clients: Load) -> int:
    """Have open connections exchange a line; return how many failed."""
    result = clients.exchange(group="open")
    stranded = result["failures"].get("timeout", 0)
    trial.must(not stranded, f"{stranded} stranded")
    return sum(result["failures"].values())


def stop(trial: Trial, host: StormHost, clients: Load) -> int:
    """Have the host stop."""
    clients.close(group="open")
    host.signal(signal.SIGTERM)
    code = host.wait()
    trial.must(code == 0, f"exit code {code}")
    return 0


FORKS = "clone,clone3,fork,vfork"
CELLS = (
    Cell("supervisor", FORKS, "EAGAIN", "1..2", death, event="fork_failed"),
    Cell("supervisor", FORKS, "ENOMEM", "1..1", death, event="fork_failed"),
    Cell("supervisor", "socketpair", "EMFILE", "1..2", death, event="fork_failed"),
    Cell("supervisor", "socketpair", "ENFILE", "2..2", death, event="fork_failed"),
    Cell("supervisor", "epoll_ctl", "ENOSPC", "ADD 1", death),
    Cell("supervisor", "epoll_ctl", "ENOMEM", "ADD 2", death),
    Cell("supervisor", "epoll_wait", "EINTR", "1+3", burst),
    Cell("supervisor", "sendto", "ENOBUFS", "1..3", burst),
    Cell("supervisor", "sendto", "ENOMEM", "1..1", burst),
    Cell("supervisor", "recvfrom", "EINTR", "1+2", death),
    Cell("supervisor", "recvfrom,recvmsg", "ENOBUFS", "1..1", burst, listen="unix"),
    Cell("supervisor", "setsockopt", "ENOPROTOOPT", "1+1", stop),
    Cell("workers", "epoll_ctl", "ENOSPC", "ADD 1", burst, may_fail=2, event="accept_failed"),
    Cell("workers", "epoll_ctl", "ENOMEM", "ADD 2", burst, may_fail=2, event="accept_failed"),
    Cell("workers", "epoll_wait", "EINTR", "1+3", burst),
    Cell("workers", "sendto", "ENOBUFS", "1..2", talk, may_fail=4),
    Cell("workers", "sendto", "ENOMEM", "1..2", talk, may_fail=4),
    Cell("workers", "sendto", "EPERM", "1..1", talk, may_fail=2),
    Cell("workers", "recvfrom", "ENOMEM", "1..2", talk, may_fail=4),
    Cell("workers", "recvfrom", "EHOSTUNREACH", "1..1", talk, may_fail=2),
    Cell("workers", "sendto", "EINTR", "1+2", talk),
)


@row(
    12,
    "fork EAGAIN, socketpair EMFILE, epoll_ctl ENOSPC, send ENOBUFS and the like, in supervisor and"
    " workers; the log's write EIO, ENOSPC",
    "every cell: nobody stranded, no process ends, all slots filled again",
)
def call_errors(trial: Trial) -> str:
    wrong: list[str] = []
    for cell in CELLS:
        before = len(trial.broken)
        run_cell(trial, cell)
        if len(trial.broken) > before:
            name = f"{cell.where} {cell.calls.split(',')[0]} {cell.error} {cell.when}"
            wrong.append(name)
            trial.broken[before:] = [f"{name}: {'; '.join(trial.broken[before:])[:300]}"]
    for error in ("EIO", "ENOSPC"):
        before = len(trial.broken)
        log_error(trial, error)
        if len(trial.broken) > before:
            wrong.append(f"log write {error}")
    count = len(CELLS) + 2
    return f"{count - len(wrong)} of {count} cells pass" + (
        f"; not {', '.join(wrong)}" * bool(wrong)
    )


def run_cell(trial: Trial, cell: Cell) -> None:
    """Run one cell on a host of its own."""
    host = trial.start(POLITE, workers=2, listen=(cell.listen,))
    clients = trial.bursts()
    clients.burst(host.address, 10, group="open")
    try:
        when = cell.when
        if when.startswith("ADD"):
            when = nth_addition(trial, host, clients, cell)
            clients.burst(host.address, 10, group="open")
        mark = host.mark()
        with failing(processes(host, cell), cell.calls, cell.error, when):
            failed = cell.provoke(trial, host, clients)
        trial.must(failed <= cell.may_fail, f"{failed} connections failed")
        if cell.event is not None:
            trial.must(host.events(cell.event, since=mark), f"no event {cell.event}")
        if cell.provoke is not stop:
            after_cell(trial, host, clients, cell, failed)
    except AssertionError as error:
        trial.broken.append(str(error).splitlines()[0])
    clients.end()
    trial.broken += host.finish()


def processes(host: StormHost, cell: Cell) -> list[int]:
    """Return the processes whose calls fail."""
    return [host.pid] if cell.where == "supervisor" else list(host.workers.values())


def nth_addition(trial: Trial, host: StormHost, clients: Load, cell: Cell) -> str:
    """Find out which of the epoll_ctl calls adds a descriptor: only that one has these errors."""
    notes = trial.folder / "notes"
    with noted(processes(host, cell)[:1], cell.calls, notes):
        cell.provoke(trial, host, clients)
    lines = notes.read_text().splitlines()
    additions = [number for number, line in enumerate(lines, 1) if "CTL_ADD" in line]
    wanted = int(cell.when.split()[1])
    assert len(additions) >= wanted, f"epoll_ctl adds {len(additions)} descriptors only"
    return f"{additions[wanted - 1]}..{additions[wanted - 1]}"


def after_cell(trial: Trial, host: StormHost, clients: Load, cell: Cell, failed: int) -> None:
    """All is well again."""
    trial.must(host.alive, "the host has ended")
    if cell.provoke is not death:
        died = host.events("worker_died")
        trial.must(not died, f"workers died: {died[:1]}")
        kept: Any = clients.exchange(group="open")
        more = sum(kept["failures"].values()) - (failed if cell.provoke is talk else 0)
        trial.must(more <= 0, f"open sessions: {kept['failures']}")

    def both_serve() -> bool:
        result = clients.burst(host.address, 40, group="after")
        trial.must(not result["failures"], f"afterwards: {result['failures']}")
        clients.close(group="after")
        return len({pid for _, pid, _ in result["answers"]}) == 2 or not host.alive

    trial.must(soon(both_serve, 3.0), "3 s later only one of 2 workers serves")


def log_error(trial: Trial, error: str) -> None:
    """The log is a file, and writing to it fails now and then."""
    path = trial.folder / f"{error}.log"
    path.touch()
    socket_path = trial.folder / f"{error}.sock"
    host = trial.start(
        POLITE,
        listen=(f"unix:{socket_path}",),
        workers=2,
        flags=("--log-level", "debug"),
        log=path,
        ready=False,
    )
    trial.must(soon(lambda: b"host_ready" in path.read_bytes(), 10.0), "it does not start")
    clients = trial.bursts()
    pids = [host.pid, *(child.pid for child in children(host.pid))]
    with failing(pids, "write", error, "1+2", path=path):
        result = clients.burst(f"unix:{socket_path}", 100)
        trial.must(not result["failures"], f"log write {error}: {result['failures']}")
        clients.close()
        again = clients.burst(f"unix:{socket_path}", 100)
        trial.must(not again["failures"], f"log write {error}: {again['failures']}")
        clients.close()
    clients.end()
    trial.broken += host.finish()
    trial.must(b"worker_died" not in path.read_bytes(), f"log write {error}: a worker died")
