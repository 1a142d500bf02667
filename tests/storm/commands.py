"""Commands to a host that has many connections."""

from __future__ import annotations

import resource
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host.control import client
from host.control.client import RemoteError
from host.testing.machine import patience
from storm.hosts import StormHost
from storm.load import Load, Span, pass_time
from storm.peers import OTHERS, unhandled
from storm.rows import Trial, row
from support.hosting import freeze, thaw

ADDRESSES = 4
"""Each has its sessions: from one address to another there are not enough ports for all. The others
have one of their own, since connect(2) takes long where few ports are left."""
LIMIT = 100_000
"""The largest `limit` of `connections`."""
DISTRIBUTIONS = 300
"""How many are installed besides, for `scheduler` to look at."""
SPARE_DESCRIPTORS = 300
PAUSE_SECONDS = 0.02
PATIENCE = 30.0
SLOW_MACHINE_SECONDS = 0.01
"""What a wait is compared with at least in the short form, which shares its machine."""

Plan = list[tuple[str, dict[str, Any]]]


@dataclass(slots=True)
class Turns:
    """When a command was given again and again, and when nothing was, in turn."""

    busy: list[Span] = field(default_factory=list)
    quiet: list[Span] = field(default_factory=list)


@row(
    33,
    "60,000 sessions on 4 workers, 300 distributions installed, while each command of the host"
    " runs, with the largest arguments; a worker that does not answer in time",
    "0 lost; p99 of the others < 2 × that without a command, a second before; every answer whole or"
    " with who has not answered, never a late one",
)
def commands_among_many(trial: Trial) -> str:
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    each = min(trial.pick(2_500, 15_000), descriptors - SPARE_DESCRIPTORS)
    installed = trial.folder / "installed"
    install(installed, DISTRIBUTIONS)
    host = trial.start(
        "echo", listen=("tcp4",) * (ADDRESSES + 1), env={"PYTHONPATH": str(installed)}
    )
    address, *addresses = host.addresses
    crowds = [trial.crowd("stay", crowded, count=each) for crowded in addresses]
    sessions = sum(crowd.answer() for crowd in crowds)
    trial.must(sessions == ADDRESSES * each, f"only {sessions:,} of {ADDRESSES * each:,} are in")
    load = trial.load(address, **OTHERS)
    load.under_way()
    ids = all_listed(trial, host, sessions)
    plans = plan_of(ids, missing=f"{host.workers[0]}-{10**18}")
    turns = {name: Turns() for name in plans}
    seconds = trial.pick(0.1, 1.5)
    for _ in trial.rounds(range(1), range(5)):
        for name, plan in plans.items():
            turns[name].quiet.append(pass_time(seconds))
            turns[name].busy.append(repeat(host, plan, seconds))
    said = compared(trial, load, turns)
    took = not_in_time(trial, host, sessions)
    others = load.end()
    trial.must(not others.failed, f"others failed: {others.causes()}")
    left = 0
    for crowd in crowds:
        crowd.tell(do="end")
        left += crowd.answer()
    trial.must(left == sessions - 1, f"{sessions - 1 - left:,} sessions are lost")
    unhandled(trial, host)
    return (
        f"{sessions:,} sessions, {sessions - 1 - left} lost; all listed in {took:.1f} s; p99 of the"
        f" others {said}"
    )


def compared(trial: Trial, load: Load, turns: dict[str, Turns]) -> str:
    """Hold the others' p99 during each command against that in the moments before it.

    Both are of the same minutes: whatever else the machine does meanwhile is in both. How far the
    quiet moments are from each other says how much of a ratio is chance.
    """
    quiet = load.pooled("loops", [each.quiet for each in turns.values()])
    busy = load.pooled("loops", [each.busy for each in turns.values()])
    floor = trial.pick(SLOW_MACHINE_SECONDS, 1e-4)
    ratios = []
    for name, one, other in zip(turns, quiet, busy, strict=True):
        ratio = other.p99 / max(one.p99, floor)
        trial.fast(ratio, 2.0, f"p99 of the others during `{name}`, times what it was")
        ratios.append((ratio, name, one.p99, other.p99))
    ratio, name, before, during = max(ratios)
    chance = sorted(each.p99 * 1000 for each in quiet)
    return (
        f"at most {ratio:.1f} × (`{name}`: {before * 1000:.1f} → {during * 1000:.1f} ms);"
        f" {chance[0]:.1f} to {chance[-1]:.1f} ms without a command"
    )


def plan_of(ids: list[str], missing: str) -> dict[str, Plan]:
    """Return what is asked in turn, by what it is called: one session is closed."""
    module = "host.plugins.schedulers.least_loaded:LeastLoaded"
    return {
        "status": [("status", {})],
        "generations": [("generations", {})],
        "applied": [("applied", {})],
        "connections": [("connections", {"limit": LIMIT})],
        "connections of some": [("connections", {"limit": LIMIT // 8})],
        "why": [("why", {"id": ids[0]}), ("why", {"id": missing})],
        "close": [("close", {"id": ids[1]}), ("close", {"id": missing})],
        "hold and resume": [("hold", {"slot": 0}), ("resume", {"slot": 0})],
        "scheduler": [
            ("scheduler", {"name": name}) for name in ("least_connections", "round_robin")
        ],
        "scheduler by module": [("scheduler", {"name": module})],
        "scheduler that is none": [("scheduler", {"name": "nothing"})],
    }


def install(folder: Path, count: int) -> None:
    """Make distributions that have no plugins."""
    for number in range(count):
        info = folder / f"other{number}-1.{number}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: other{number}\nVersion: 1.{number}\n"
        )
        (info / "entry_points.txt").write_text(f"[console_scripts]\nother{number} = other:main\n")
        lines = (f"other{number}/part{part}.py,sha256=x,9\n" for part in range(50))
        (info / "RECORD").write_text("".join(lines))


def repeat(host: StormHost, plan: Plan, seconds: float) -> Span:
    """Ask at least once all that is planned, for so long; return the span."""
    began, times = time.monotonic(), 0
    while times < len(plan) or time.monotonic() - began < seconds:
        command, args = plan[times % len(plan)]
        with suppress(RemoteError):  # there is no such connection or plugin, or no more
            ask(host, command, **args)
        times += 1
        time.sleep(PAUSE_SECONDS)
    return began, time.monotonic()


def all_listed(trial: Trial, host: StormHost, sessions: int) -> list[str]:
    """List all connections; return the ids of the sessions."""
    answer = ask(host, "connections", limit=LIMIT)
    ids = [each["id"] for each in answer["connections"]]
    trial.must(not answer["unanswered"], f"not answered by {answer['unanswered']}")
    trial.must(len(ids) >= sessions, f"{len(ids):,} listed of {sessions:,}")
    trial.must(len(set(ids)) == len(ids), "a connection is listed twice")
    return ids


def not_in_time(trial: Trial, host: StormHost, sessions: int) -> float:
    """Have a worker answer too late, then all in time; return how long that took."""
    freeze(host.workers[0])
    answer = ask(host, "connections", limit=LIMIT)
    thaw(host.workers[0])
    trial.must(answer["unanswered"] == [0], f"not answered by {answer['unanswered']}")
    slots = {each["slot"] for each in answer["connections"]}
    trial.must(slots == {1, 2, 3}, f"listed are connections of {slots}")
    began = time.monotonic()
    all_listed(trial, host, sessions - 1)
    return time.monotonic() - began


def ask(host: StormHost, command: str, **args: Any) -> Any:
    """Give the host a command; return the result."""
    return client.ask(host.name, command, args, patience(PATIENCE))
