"""Workers that hang, and busy ones that must not be taken for such."""

from __future__ import annotations

import os
import signal
import time

from storm.hosts import StormHost, soon
from storm.rows import SkippedError, Trial, host_has, row
from support.address import connect
from support.hosting import SUPPORT, freeze

STUCK = str(SUPPORT / "stuck.py")
NOTICE_SECONDS = 5.0


@row(
    5,
    "a worker hangs: a loop, a call of C that keeps the interpreter, SIGSTOP; and one that is busy",
    "noticed within 5 s with default settings, stacks logged, replaced; the busy one is left alone",
)
def hangs(trial: Trial) -> str:
    if not host_has("lifecycle.hang_seconds"):
        raise SkippedError("this host has no lifecycle.hang_seconds")
    said = []
    for _ in trial.rounds(range(1), range(10)):
        host = trial.start(STUCK, workers=2)
        load = trial.load(host.address, sessions=20)
        load.under_way()
        for how in ("loop", "c", "stop"):
            said.append(f"{how} {hang(trial, host, how):.1f} s")
        result = load.end()
        killed = {event["pid"] for event in host.events("worker_died")}
        foreign = [each for each in result.failures if each.owner not in killed | {None}]
        trial.must(not foreign, f"failures of others: {foreign[:3]}")
        trial.must(not result.counts["refused"], f"{result.causes()}")
        trial.broken += host.finish()
    busy_turns = busy(trial)
    return f"noticed after {', '.join(said[:3])}; busy worker: {busy_turns}"


def hang(trial: Trial, host: StormHost, how: str) -> float:
    """Make a worker hang; return after how many seconds that was noticed."""
    mark = host.mark()
    with connect(host.address) as client:
        client.sendall(b"who\n")
        slot, pid, *_ = (int(word) for word in client.recv(100).split()[:2])
        began = time.monotonic()
        if how == "stop":
            freeze(pid)
        else:
            client.sendall(how.encode() + b"\n")
        seconds = NOTICE_SECONDS + (10.0 if trial.quick else 1.0)
        noticed = soon(lambda: bool(host.events("worker_hung", since=mark, pid=pid)), seconds)
        took = time.monotonic() - began
        trial.must(noticed, f"{how}: not noticed within {seconds:g} s")
        trial.fast(took, NOTICE_SECONDS, f"{how}: noticed after")
        back = soon(lambda: bool(host.events("worker_ready", since=mark, slot=slot)), 10.0)
        trial.must(back, f"{how}: not replaced")
    if how != "stop":
        stacks = [event["traceback"] for event in host.events("worker_hung", since=mark)]
        trial.must("stuck.py" in "".join(stacks), f"{how}: no stack that names the plugin's file")
    return took


def busy(trial: Trial) -> str:
    """Keep a worker busy for 0.5 s at a time, longer than a worker may hang."""
    host = trial.start(STUCK, workers=1)
    seconds = trial.pick(6.0, 20.0)
    turns, began = 0, time.monotonic()
    with connect(host.address) as client:
        while time.monotonic() - began < seconds:
            client.sendall(b"busy\n")
            if not client.recv(100):
                break
            turns += 1
    hung = host.events("worker_hung")
    trial.must(not hung and not host.events("worker_died"), f"taken for hung: {hung[:1]}")
    return f"{turns} turns of 0.5 s, taken for hung {len(hung)} times"


@row(
    31,
    "4,000 sessions on 2 workers send at once, and each costs its handler 5 ms",
    "0 lost, nobody is taken for hung; a worker that does hang is noticed within 5 s",
)
def all_at_once(trial: Trial) -> str:
    sessions = trial.pick(800, 4_000)
    settings = trial.pick({"lifecycle.hang_seconds": 1.0}, None)
    host = trial.start(STUCK, workers=2, settings=settings)
    crowd = trial.crowd("stay", host.address, count=sessions, line="short")
    lost = sessions - crowd.answer(120.0)
    began = time.monotonic()
    crowd.tell(do="end")
    lost = max(lost, sessions - crowd.answer(120.0))
    took = time.monotonic() - began
    trial.must(not lost, f"{lost:,} of {sessions:,} sessions are lost")
    taken = [*host.events("worker_hung"), *host.events("worker_died")]
    trial.must(not taken, f"a busy worker was taken for hung: {taken[:1]}")
    noticed = hang(trial, host, "loop")
    return (
        f"{sessions:,} answered in {took:.1f} s, {lost} lost, {len(taken)} taken for hung; a hang"
        f" noticed after {noticed:.1f} s"
    )


@row(
    21,
    "stop with a hung worker, a stopped worker, a session that stays",
    "over within deadline + 0.5 s; the exit code tells",
)
def stops_with_a_hang(trial: Trial) -> str:
    deadline = 2.0
    said = []
    ways = ("loop", "c", "stop", "session")
    for how in trial.rounds(ways, 10 * ways):
        host = trial.start(STUCK, workers=2, settings={"lifecycle.drain_timeout_seconds": deadline})
        host.codes = {9}
        with connect(host.address) as client:
            client.sendall(b"who\n")
            pid = int(client.recv(100).split()[1])
            if how == "stop":
                freeze(pid)
            elif how != "session":
                client.sendall(how.encode() + b"\n")
                soon(lambda pid=pid: runs(pid), 5.0)
            began = time.monotonic()
            os.kill(host.pid, signal.SIGTERM)
            code = host.wait(deadline + 10.0)
            took = time.monotonic() - began
        trial.must(code == 9, f"{how}: exit code {code}")
        trial.in_time(took - deadline, trial.pick(2.0, 0.5), f"{how}: later than the deadline by")
        said.append(f"{how} {took:.2f} s")
        trial.broken += host.finish()
    return f"deadline {deadline:g} s: {', '.join(said[:4])}; exit code 9 each time"


def runs(pid: int) -> bool:
    """Tell whether a process is running, not waiting."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0] == "R"
