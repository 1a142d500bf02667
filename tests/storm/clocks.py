"""Clocks that jump, and processes that sleep through what they should have timed."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from storm.hosts import POLITE, StormHost
from storm.rows import Trial, row
from storm.tracing import needed
from support.address import connect
from support.hosting import freeze
from support.processes import children
from support.session import ask

IDLE_SECONDS = 2.0
JUMPS = ("+1d", "-1d", "+0", "+365d")


@row(
    27,
    "wall clock ± 1 day (faketime); whole tree stopped for 30 s",
    "no false and no missed time-out",
)
def clocks(trial: Trial) -> str:
    jumps = [
        f"{jump} closed after {jumped(trial, jump):.2f} s" for jump in JUMPS[: trial.pick(2, 4)]
    ]
    return f"idle time-out {IDLE_SECONDS:g} s: {', '.join(jumps)}; {asleep(trial)}"


def fake_clock(folder: Path) -> dict[str, str]:
    """Return the environment in which the wall clock is what a file says; others are real."""
    needed("faketime")
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    assert found, "faketime is there, and its library is not"
    (folder / "clock").write_text("+0\n")
    return {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(folder / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def jumped(trial: Trial, jump: str) -> float:
    """Have the clock jump while one session talks and one is silent; return when that one ends."""
    clock = trial.folder / "clock"
    settings = {"limits.idle_timeout_seconds": IDLE_SECONDS}
    host = trial.start(POLITE, workers=1, settings=settings, env=fake_clock(trial.folder))
    with connect(host.address) as talks, connect(host.address) as silent:
        ask(talks)
        began = time.monotonic()
        ask(silent)
        time.sleep(0.5)
        clock.write_text(f"{jump}\n")
        silent.settimeout(0.3)
        closed = None
        while closed is None and time.monotonic() - began < 3 * IDLE_SECONDS:
            ask(talks)
            try:
                assert silent.recv(100) == b""
                closed = time.monotonic() - began
            except TimeoutError:
                pass
        ask(talks)
    trial.must(closed is not None, f"{jump}: the silent session was not closed")
    took = closed if closed is not None else 3 * IDLE_SECONDS
    trial.must(took >= IDLE_SECONDS - 0.05, f"{jump}: closed too early, after {took:.2f} s")
    trial.fast(took, IDLE_SECONDS + 1.0, f"{jump}: closed after")
    trial.must(not host.events("worker_died"), f"{jump}: a worker died")
    trial.must(shows(host, clock), f"{jump}: the clock did not jump for the host")
    trial.broken += host.finish()
    return took


def shows(host: StormHost, clock: Path) -> bool:
    """Tell whether the host's log has the day that the file says."""
    mark = host.mark()
    host.kill_worker(0)
    died = host.wait_for("worker_died", since=mark)
    host.wait_for("worker_ready", since=mark)
    jump = clock.read_text().strip()
    days = int(jump.removesuffix("d")) if jump.endswith("d") else 0
    expected = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400 * days))
    return bool(died["time"].startswith(expected))


def asleep(trial: Trial) -> str:
    """Stop all processes, then continue them; whoever talked in the meantime was not silent."""
    seconds = trial.pick(6.0, 30.0)
    # Each session sends a line just before, and its host has not read it when it wakes up.
    host = trial.start(POLITE, workers=2, settings={"limits.idle_timeout_seconds": seconds - 2.0})
    with ExitStack() as stack:
        sessions = [stack.enter_context(connect(host.address)) for _ in range(20)]
        for sock in sessions:
            ask(sock)
        pids = [host.pid, *(child.pid for child in children(host.pid))]
        for pid in pids:
            freeze(pid)
        time.sleep(seconds)
        for number, sock in enumerate(sessions):
            sock.sendall(b"awake %d\n" % number)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        answered = 0
        for number, sock in enumerate(sessions):
            with suppress(OSError):
                answered += sock.recv(100).endswith(b"awake %d\n" % number)
        trial.must(answered == 20, f"{20 - answered} of 20 sessions were closed as idle, or lost")
        newcomer = stack.enter_context(connect(host.address))
        ask(newcomer)
    for name in ("worker_hung", "worker_killed", "worker_died"):
        found = host.events(name)
        trial.must(not found, f"a false {name}: {found[:1]}")
    trial.broken += host.finish()
    return f"{seconds:.0f} s asleep: {answered} of 20 sessions answered, 0 false time-outs"
