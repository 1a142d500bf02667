"""(d) Connections per second, and how evenly they are spread over processes."""

from __future__ import annotations

import json
import subprocess
import sys

from bench.clients import Load
from bench.contenders import ours, uvloop_processes
from bench.contest import Bench, Case, Contest
from bench.proc import sockets
from bench.results import Comparison, Goal, Reading, several
from bench.servers import ROOT, Server, environment

LETTER = "d"
TITLE = "Connections: connect, 64 bytes, close"
AT_ONCE = (1, 50, 500)
WORKERS = (1, 2, 4)
HELD = 200
PEER = "uvloop processes"


def _name(at_once: int, workers: int) -> str:
    return f"{at_once} at a time, {several(workers, 'process')}"


def _spread_name(workers: int) -> str:
    return f"spread over {workers} processes"


GOALS = (
    Goal(LETTER, _name(50, 2), "rate", "≥", 0.9, PEER, "connections per second"),
    Goal(LETTER, _spread_name(2), "spread", "≤", 1, None, "largest difference between workers"),
    Goal(LETTER, _spread_name(2), "held_spread", "≤", 1, None, f"the same, {HELD} held open"),
)


def accepted(server: Server) -> list[int]:
    """Return how many connections each worker of a host has accepted."""
    command = [sys.executable, "-m", "host", "status", "--name", server.name, "--json"]
    asked = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, timeout=30, check=True
    )
    return [worker["accepted"] for worker in json.loads(asked.stdout)["workers"]]


def held(server: Server) -> int:
    """Open connections at once and hold them; return the largest difference between processes."""
    before = sockets(server.pid)
    with Load("clients", server, connections=HELD):
        after = server.wait_for_sockets(sum(before.values()) + HELD)
    # The first process serves nobody: it only watches over the others.
    taken = [after[pid] - before.get(pid, 0) for pid in after if pid != server.pid]
    return max(taken) - min(taken)


def _measure(bench: Bench, at_once: int, workers: int) -> tuple[Comparison, Reading]:
    case = Case(
        LETTER,
        _name(at_once, workers),
        "connection",
        "connects",
        {"at_once": at_once},
        ours("echo", workers=workers),
        (uvloop_processes(workers),),
    )
    with Contest(bench, case) as contest:
        before = accepted(contest.servers[case.ours.name])
        result = contest.fight()
        after = accepted(contest.servers[case.ours.name])
        taken = [late - early for early, late in zip(before, after, strict=True)]
        spreads: Reading = {"spread": max(taken) - min(taken)}
        if workers > 1 and at_once == max(AT_ONCE):
            for name, server in contest.servers.items():
                spreads[name] = held(server)
        return result, spreads


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    results = []
    for workers in WORKERS:
        spread = Comparison(LETTER, _spread_name(workers), "connection", ours().name)
        for at_once in AT_ONCE:
            result, spreads = _measure(bench, at_once, workers)
            results.append(result)
            spread.solo.append({"spread": spreads["spread"]})
        if workers == 1:
            continue
        mine = {"held_spread": spreads[spread.ours]}
        if PEER in spreads:
            spread.pairs[PEER] = [(mine, {"held_spread": spreads[PEER]})]
        else:
            spread.solo.append(mine)
        results.append(spread)
    return results
