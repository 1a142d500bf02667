"""Commands to a host that has many connections."""

from __future__ import annotations

import resource
import time
from contextlib import suppress
from typing import Any

from host.control import client
from host.control.client import RemoteError
from storm.hosts import StormHost
from storm.load import pass_time
from storm.peers import OTHERS, unhandled
from storm.rows import Trial, row
from support.hosting import freeze, thaw
from support.machine import patience

ADDRESSES = 4
"""Each has its sessions: from one address to another there are not enough ports for all. The others
have one of their own, since connect(2) takes long where few ports are left."""
LIMIT = 100_000
"""The largest `limit` of `connections`."""
SPARE_DESCRIPTORS = 300
PAUSE_SECONDS = 0.02
PATIENCE = 30.0
SLOW_MACHINE_SECONDS = 0.01
"""What a wait is compared with at least in the short form, which shares its machine."""


@row(
    33,
    "60,000 sessions on 4 workers while each command of the host runs, with the largest arguments;"
    " a worker that does not answer in time",
    "0 lost; p99 of the others < 2 ×; every answer whole or with who has not answered, never a late"
    " one",
)
def commands_among_many(trial: Trial) -> str:
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    each = min(trial.pick(2_500, 15_000), descriptors - SPARE_DESCRIPTORS)
    host = trial.start("echo", listen=("tcp4",) * (ADDRESSES + 1))
    address, *addresses = host.addresses
    crowds = [trial.crowd("stay", crowded, count=each) for crowded in addresses]
    sessions = sum(crowd.answer() for crowd in crowds)
    trial.must(sessions == ADDRESSES * each, f"only {sessions:,} of {ADDRESSES * each:,} are in")
    load = trial.load(address, **OTHERS)
    load.under_way()
    before = pass_time(trial.pick(0.5, 10.0))
    ids = all_listed(trial, host, sessions)
    plans = plan_of(ids, missing=f"{host.workers[0]}-{10**18}")
    seconds = trial.pick(0.2, 10.0)
    spans = {command: repeat(host, command, args, seconds) for command, args in plans.items()}
    after = pass_time(trial.pick(0.5, 10.0))
    one, two, *during = load.waits("loops", [before, after, *spans.values()])
    usual = max(one.p99, two.p99)
    worst, waits = max(zip(spans, during, strict=True), key=lambda found: found[1].p99)
    ratio = waits.p99 / max(usual, trial.pick(SLOW_MACHINE_SECONDS, 1e-4))
    trial.fast(ratio, 2.0, f"p99 of the others during `{worst}`, times what it was")
    seconds = not_in_time(trial, host, sessions)
    others = load.end()
    trial.must(not others.failed, f"others failed: {others.causes()}")
    left = 0
    for crowd in crowds:
        crowd.tell(do="end")
        left += crowd.answer()
    trial.must(left == sessions - 1, f"{sessions - 1 - left:,} sessions are lost")
    unhandled(trial, host)
    return (
        f"{sessions:,} sessions, {sessions - 1 - left} lost; all listed in {seconds:.1f} s; p99 of"
        f" the others {usual * 1000:.1f} ms, at most {waits.p99 * 1000:.1f} (`{worst}`)"
    )


def plan_of(ids: list[str], missing: str) -> dict[str, list[dict[str, Any]]]:
    """Return the arguments with which each command is given in turn: one session is closed."""
    return {
        "status": [{}],
        "generations": [{}],
        "connections": [{"limit": LIMIT}],
        "why": [{"id": ids[0]}, {"id": missing}],
        "close": [{"id": ids[1]}, {"id": missing}],
        "hold": [{"slot": 0}],
        "resume": [{"slot": 0}],
        "scheduler": [{"name": "least_connections"}, {"name": "round_robin"}],
    }


def repeat(
    host: StormHost, command: str, plan: list[dict[str, Any]], seconds: float
) -> tuple[float, float]:
    """Give a command at least once with each of its arguments, for so long; return the span."""
    began, times = time.monotonic(), 0
    while times < len(plan) or time.monotonic() - began < seconds:
        with suppress(RemoteError):  # there is no such connection, or no more
            ask(host, command, **plan[times % len(plan)])
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
