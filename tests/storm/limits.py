"""What happens where something is used up: descriptors, places, a line's length."""

from __future__ import annotations

import time
from contextlib import ExitStack

from host.control import client
from host.testing.machine import patience
from storm.hosts import POLITE, StormHost, soon
from storm.load import pass_time
from storm.peers import unhandled
from storm.rows import Trial, host_has, row
from support.address import connect
from support.hosting import SUPPORT
from support.processes import cpu_seconds, resident_bytes
from support.session import ask

LEAKING = str(SUPPORT / "leaking.py")
MIB = 1 << 20


@row(
    10,
    "descriptors exhausted: limit 64, 500 idle clients, 30 s; and a plugin that holds most of them",
    "at most 0.1 s CPU per 5 s; heals within 200 ms; nobody's session lost",
)
def descriptors(trial: Trial) -> str:
    said = []
    for name, flags in (
        ("64", ()),
        ("plugin", ("--plugin", LEAKING, "--set", "options.leaking.descriptors=30")),
    ):
        host = trial.start(POLITE, workers=2, flags=flags, nofile=(64, 64), unprivileged=True)
        cpu, healed = exhausted(trial, host)
        trial.fast(cpu, 0.1, f"{name}: seconds of CPU in 5 s")
        trial.fast(healed, 0.2, f"{name}: healed after")
        trial.must(not host.events("worker_died"), f"{name}: a worker died")
        records = len(host.events("accept_failed"))
        if name == "plugin":
            trial.must(records >= 1, "no accept ever failed: descriptors were not used up")
        said.append(f"{name}: {cpu * 1000:.0f} ms CPU per 5 s, healed in {healed * 1000:.0f} ms")
        trial.broken += host.finish()
    return "; ".join(said) + "; 0 sessions lost"


def exhausted(trial: Trial, host: StormHost) -> tuple[float, float]:
    """Use up all descriptors; return CPU seconds per 5 s, and how soon a newcomer is served."""
    with ExitStack() as stack:
        sessions = [stack.enter_context(connect(host.address)) for _ in range(10)]
        for sock in sessions:
            ask(sock)
        seconds = trial.pick(5.0, 30.0)
        crowd = trial.crowd("idle", host.address, count=500, seconds=seconds + 600.0)
        crowd.answer()
        time.sleep(0.5)
        pids = (host.pid, *host.workers.values())
        used = sum(map(cpu_seconds, pids))
        time.sleep(seconds)
        used = sum(map(cpu_seconds, pids)) - used
        newcomer = stack.enter_context(connect(host.address))
        newcomer.sendall(b"hello\n")
        crowd.close()
        began = time.monotonic()
        trial.must(newcomer.recv(100), "the newcomer was not served")
        healed = time.monotonic() - began
        for sock in sessions:
            ask(sock)
    return used / seconds * 5.0, healed


@row(
    17,
    "1 GB without a newline; lines one byte below the limit, at it, one above, whole and byte by"
    " byte",
    "memory < 2 × limit; CPU at most 10 × the sender's",
)
def endless_line(trial: Trial) -> str:
    edges(trial)
    said = []
    size = trial.pick(100_000_000, 1_000_000_000)
    for long_lines in ("reply", "skip", "close"):
        host = trial.start(
            "line",
            workers=1,
            settings={
                "options.line.max_line_bytes": MIB,
                "options.line.long_lines": long_lines,
            },
        )
        # What a line as long as the limit needs is not counted twice.
        trial.crowd("torrent", host.address, size=MIB, chunk=65_536, line=True).answer()
        (pid,) = host.workers.values()
        resident, cpu = resident_bytes(pid), cpu_seconds(pid)
        crowd = trial.crowd("torrent", host.address, size=size, chunk=65_536)
        growth = 0
        while not crowd.answered(0.02):
            growth = max(growth, resident_bytes(pid) - resident)
        result = crowd.answer(300.0)
        cpu = cpu_seconds(pid) - cpu
        trial.must(growth < 2 * MIB, f"{long_lines}: {growth / MIB:.1f} MiB more")
        trial.must(
            cpu <= 10 * result["cpu"] + 0.05,
            f"{long_lines}: {cpu:.2f} s of CPU for {result['cpu']:.2f} s of the sender",
        )
        unhandled(trial, host)
        said.append(
            f"{long_lines}: took {result['sent'] / 1e6:,.0f} MB with {growth / MIB:.1f} MiB more,"
            f" {cpu / max(result['cpu'], 0.01):.1f} × the sender's CPU"
        )
        trial.broken += host.finish()
    return f"limit 1 MiB; {'; '.join(said)}"


def edges(trial: Trial) -> None:
    """Send lines about as long as the limit: what is within it is answered as any line."""
    limit = 4096
    host = trial.start("line", workers=1, settings={"options.line.max_line_bytes": limit})
    answers = {}
    for size in (limit - 1, limit, limit + 1):
        for chunk in (size, 1):
            crowd = trial.crowd("torrent", host.address, size=size, chunk=chunk, line=True)
            result = crowd.answer()
            answers[size, chunk == 1] = result["back"]
    within = {answers[size, slow] for size in (limit - 1, limit) for slow in (False, True)}
    beyond = {answers[limit + 1, slow] for slow in (False, True)}
    trial.must(len(within) == 1, f"lines within the limit are answered with {within}")
    trial.must(len(beyond) == 1, f"lines beyond the limit are answered with {beyond}")
    trial.must(within.isdisjoint(beyond | {""}), f"{within} within and {beyond} beyond the limit")


@row(
    19,
    "50,000 connects a minute over a limit of 1,000 connections",
    "existing sessions unharmed; the supervisor's answers to commands < 50 ms",
)
def flood(trial: Trial) -> str:
    host = trial.start(POLITE, flags=("--set", "limits.max_connections_per_worker=250"))
    load = trial.load(host.address, loops=0, sessions=trial.pick(200, 1000), every=0.5)
    load.under_way()
    if trial.quick:
        trial.crowd("idle", host.address, count=800, seconds=600.0).answer()
    before = pass_time(trial.pick(2.0, 10.0))
    seconds = trial.pick(6.0, 60.0)
    crowd = trial.crowd("knock", host.address, rate=50_000 / 60, seconds=seconds, patience=1.0)
    answers = control_answers(trial, host, seconds)
    during = (before[1], time.monotonic())
    full = list(host.board.active)
    tried = crowd.answer(30.0)["tried"]
    one, other = load.waits("sessions", [before, during])
    result = load.end()
    trial.must(max(full) <= 250, f"a worker holds {max(full)} connections")
    trial.must(not result.failed, f"sessions failed: {result.causes()}")
    trial.must(not host.events("worker_died"), "a worker died")
    # Those that gave up are still in the backlog: they are accepted, seen to have gone, and closed.
    room = soon(lambda: served(host), 10.0)
    trial.must(room, "nobody new is served after the sessions have gone")
    return (
        f"{tried:,} tried in {seconds:.0f} s at {full} held: {result.failed} of"
        f" {one.count + other.count:,} answers to sessions failed{answers}, p99"
        f" {one.p99 * 1000:.1f} → {other.p99 * 1000:.1f} ms"
    )


def control_answers(trial: Trial, host: StormHost, seconds: float) -> str:
    """Ask for the host's status again and again for so long; tell how long the answers took."""
    if not host_has("admin.enabled"):
        time.sleep(seconds)
        return ""
    until, took = time.monotonic() + seconds, []
    while time.monotonic() < until:
        began = time.monotonic()
        client.ask(host.name, "generations", {}, patience(10.0))
        took.append(time.monotonic() - began)
        time.sleep(0.05)
    took.sort()
    trial.fast(took[-1], 0.050, "longest answer to a command")
    return f", commands answered within {took[-1] * 1000:.0f} ms"


def served(host: StormHost) -> bool:
    """Tell whether somebody new is served."""
    try:
        with connect(host.address, 2.0) as sock:
            return bool(ask(sock))
    except (OSError, AssertionError):
        return False
