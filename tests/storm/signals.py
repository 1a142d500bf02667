"""Signals at any moment of a start, in each place where hosts are started, and job control."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1
from typing import Any

from host.control.client import ask as query
from host.errors import RemoteError
from host.runtime.signal_table import SIGNALS
from storm.hosts import POLITE, StormHost, soon
from storm.rows import Trial, row
from support.address import connect
from support.hosting import SUPPORT
from support.processes import blocked_signals, children, cpu_seconds, status
from support.session import ask

WORKERS = 2
STOPPING = frozenset((SIGTERM, SIGINT, SIGQUIT))
STEP_SECONDS, STEPS, GAP_SECONDS = 0.05, 10, 0.3
USUAL, FIRST, INHERITED, BACKGROUND = (
    *("session leader", "process 1", "inherited mask and ignored signals"),
    "background under tostop",
)
PLACES: dict[str, dict[str, Any]] = {
    USUAL: {},
    FIRST: {"wrapper": (shutil.which("unshare") or "", "-pf", "--mount-proc", "--kill-child")},
    INHERITED: {"blocked": [*SIGNALS], "ignored": [each for each in SIGNALS if each != SIGHUP]},
    BACKGROUND: {},
}
Case = tuple[str, tuple[signal.Signals, ...], float, float]
"""Where, which signals, after how many seconds the first, and how many between two."""
SHORT: tuple[Case, ...] = (
    (FIRST, (SIGTERM,), 0.0, 0.0),
    (FIRST, (SIGHUP, SIGUSR1), 0.1, 0.05),
    (USUAL, (SIGTERM, SIGINT), 0.15, 0.05),
    (INHERITED, (SIGTTIN, SIGQUIT), 0.05, 0.3),
    (BACKGROUND, (SIGTTIN, SIGUSR1), 0.0, 0.1),
)


class Terminal:
    """A terminal, which a host has as its standard streams."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self.master, False)

    def launch(self, *, foreground: bool) -> dict[str, Any]:
        """Return what a host is started with, under `stty tostop`."""
        options = json.dumps({"foreground": foreground, "tostop": True})
        return {
            "streams": dict.fromkeys((0, 1, 2), self.path),
            "wrapper": (sys.executable, "-I", "-S", str(SUPPORT / "terminal.py"), options),
        }

    def text(self) -> str:
        """Return what was written to it and not yet read."""
        found = b""
        with suppress(OSError):
            while data := os.read(self.master, 65_536):
                found += data
        return found.decode()

    def close(self) -> None:
        """Close it, as its window is closed; harmless if that was done."""
        if self.master >= 0:
            os.close(self.master)
            self.master = -1


@contextmanager
def terminal() -> Iterator[Terminal]:
    """Open a terminal, and close it in the end."""
    made = Terminal()
    try:
        yield made
    finally:
        made.close()


def begun(host: StormHost) -> int:
    """Wait until signals wait in the host; return the supervisor's pid: it may have a wrapper."""
    pids: list[int] = []

    def found() -> bool:
        pids[:] = [host.pid]
        for pid in pids:
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if words[1:3] == [b"-m", b"host"]:
                    pids[:] = [pid]
                    return SIGUSR1 in blocked_signals(pid)
            pids.extend(child.pid for child in children(pid))
        return False

    assert soon(found, 5.0), "no process has become the host"
    return pids[0]


def state(host: StormHost) -> dict[str, Any]:
    """Return the host's status; nothing while it does not answer."""
    try:
        return query(host.name, "status", {}, 10.0)
    except RemoteError:
        return {}


def spins(pids: Sequence[int]) -> bool:
    """Tell whether processes use a CPU that have nothing to do."""
    before, seconds = sum(map(cpu_seconds, pids)), 0.5
    time.sleep(seconds)
    return sum(map(cpu_seconds, pids)) - before > seconds / 2


def has_effect(told: dict[str, Any], numbers: Sequence[signal.Signals]) -> bool:
    """Tell whether a host's status is that which these signals lead to."""
    if not told.get("ready") or told["generation"] != (SIGHUP in numbers):
        return False
    sent, wanted = Counter(numbers), told["workers_wanted"]
    if len(told["workers"]) != wanted:
        return False
    if SIGHUP in numbers:  # that may have come before or after the others
        return True
    # Two of a kind may be one.
    more, less = ({min(sent[each], 1), sent[each]} for each in (SIGTTIN, SIGTTOU))
    return wanted in {max(1, WORKERS + one - other) for one in more for other in less}


def one_case(trial: Trial, case: Case) -> None:
    """Start a host, send it signals, and see what becomes of it."""
    place, numbers, moment, gap = case
    name = f"{'+'.join(each.name for each in numbers)} in {place} after {moment:.2f} s"
    with terminal() if place == BACKGROUND else nullcontext() as window:
        launch = window.launch(foreground=False) if window else PLACES[place]
        host = trial.start(POLITE, workers=WORKERS, ready=False, **launch)
        pid = begun(host)
        time.sleep(moment)
        for number in numbers:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            time.sleep(gap)
        if not STOPPING & {*numbers}:
            took_effect = soon(lambda: has_effect(state(host), numbers), 10.0)
            trial.must(took_effect, f"{name}: {state(host)}")
            if window:
                trial.must(
                    not spins([pid, *(each.pid for each in children(pid))]), f"{name}: spins"
                )
            with suppress(ProcessLookupError):
                os.kill(pid, SIGTERM)
        code = host.wait(20.0)
        trial.must(code == 0, f"{name}: exit code {code}")
        if window:
            trial.must("Traceback" not in window.text(), f"{name}: a traceback")
    trial.broken += host.finish()


def job_control(trial: Trial) -> None:
    """Stop a host for longer than a hang, let it go on in the background, close its terminal."""
    settings = {"lifecycle.hang_seconds": 2.0}
    path = trial.folder / "job.sock"
    with terminal() as window:
        host = trial.start(
            POLITE,
            workers=WORKERS,
            listen=(f"unix:{path}",),
            settings=settings,
            ready=False,
            **window.launch(foreground=True),
        )
        pid = begun(host)
        trial.must(soon(lambda: state(host).get("ready"), 10.0), "at a terminal it does not start")
        with connect(f"unix:{path}") as session:
            ask(session)
            os.write(window.master, b"\x1a")
            trial.must(soon(lambda: stopped(pid), 5.0), "Ctrl-Z does not stop it")
            time.sleep(3.0)
            os.kill(host.pid, SIGUSR1)
            trial.must(soon(lambda: not stopped(pid), 5.0), "it does not go on")
            ask(session)
        told = state(host)
        trial.must(not told["hangs"] and not told["restarts"], f"after Ctrl-Z: {told['hangs']}")
        trial.must("Traceback" not in window.text(), "a traceback")
        window.close()
        trial.must(
            soon(lambda: has_effect(state(host), [SIGHUP]), 10.0), f"terminal closed: {state(host)}"
        )
        trial.must(not spins([pid, *(each.pid for each in children(pid))]), "terminal gone: spins")
        os.kill(pid, SIGTERM)
        code = host.wait(20.0)
        trial.must(code == 0, f"terminal gone: exit code {code}")
    trial.broken += host.finish()


def stopped(pid: int) -> bool:
    """Tell whether a process is stopped."""
    found = status(pid)
    return found is not None and found.state == "T"


def every_case(trial: Trial) -> list[Case]:
    """Return each signal at each moment in each place, and as many pairs, in any order."""
    plan: list[Case] = []
    for place, number, step in itertools.product(PLACES, SIGNALS, range(STEPS)):
        other, gap = trial.random.choice([*SIGNALS]), trial.random.uniform(0.0, GAP_SECONDS)
        moment = STEP_SECONDS * step
        plan += [(place, (number,), moment, 0.0), (place, (number, other), moment, gap)]
    trial.random.shuffle(plan)
    return plan


@row(
    39,
    "every signal of the table, every 50 ms from the first line to ready, alone and in pairs 0 to"
    " 300 ms apart; as process 1, as session leader, in the background under `stty tostop`, with an"
    " inherited mask and ignored signals; Ctrl-Z; a terminal that closes",
    "documented effect; never lost, never a traceback, never a spin",
)
def signals(trial: Trial) -> str:
    done: Counter[str] = Counter()
    for case in trial.rounds(SHORT, every_case(trial)):
        if case[0] == FIRST and os.geteuid() != 0:  # a namespace of processes is root's to make
            continue
        one_case(trial, case)
        done[case[0]] += 1
    job_control(trial)
    counted = ", ".join(f"{count} × {place}" for place, count in done.items())
    return (
        f"{done.total()} starts: {counted}; stopped for 3 s, continued, terminal closed: served on"
    )
