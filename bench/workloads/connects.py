"""(d) Connections per second, and how evenly they are spread over processes."""

from __future__ import annotations

import json
import subprocess
import sys

from bench.clients import Load
from bench.contenders import Contender, ours, process_pool, uvloop_processes
from bench.contest import Bench, Case, Contest, fight
from bench.proc import sockets
from bench.results import Comparison, Goal, Reading, several
from bench.servers import ROOT, Server, environment

LETTER = "d"
TITLE = "Connections: connect, 64 bytes, close"
AT_ONCE = (1, 8, 50, 500)
WORKERS = (1, 2, 4)
HELD = 200
PEER = "uvloop processes"
POOL = "process pool, edges"


def _name(at_once: int, workers: int, reset: bool = False) -> str:
    closing = ", closed with a reset" if reset else ""
    return f"{at_once} at a time, {several(workers, 'process')}{closing}"


STARTED_ANEW = f"{_name(50, 2)}, started anew"


def _spread_name(workers: int) -> str:
    return f"spread over {workers} processes"


GOALS = (
    Goal(LETTER, _name(50, 2), "rate", "≥", 1.0, PEER, "connections per second"),
    Goal(LETTER, STARTED_ANEW, "rate", "≥", 1.5, POOL, "connections per second"),
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


def _case(at_once: int, workers: int, reset: bool = False) -> Case:
    return Case(
        LETTER,
        _name(at_once, workers, reset),
        "connection",
        "connects",
        {"at_once": at_once, "reset": int(reset)},
        ours("echo", workers=workers),
        (uvloop_processes(workers), process_pool(workers, edge=False)),
    )


def _started_anew(bench: Bench) -> Comparison:
    """Compare with the pool that leaves clients waiting.

    It serves fewer and fewer of them, so each slice has servers of its own.
    """
    mine, pool = ours("echo", workers=2), process_pool(2, edge=True)
    result = Comparison(LETTER, STARTED_ANEW, "connection", mine.name)

    def reading(contender: Contender) -> Reading:
        with Server(contender) as server, Load("connects", server, at_once=50) as load:
            return load.run(bench.seconds)

    bench.say(f"({LETTER}) {STARTED_ANEW}")
    for _ in range(bench.pairs):
        if bench.takes_part(pool):
            result.pairs.setdefault(POOL, []).append((reading(mine), reading(pool)))
        else:
            result.solo.append(reading(mine))
    return result


def _measure(bench: Bench, at_once: int, workers: int) -> tuple[Comparison, Reading]:
    case = _case(at_once, workers)
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
        others = [name for name in spreads if name not in ("spread", spread.ours)]
        for name in others:
            spread.pairs[name] = [(mine, {"held_spread": spreads[name]})]
        if not others:
            spread.solo.append(mine)
        results.append(spread)
    results.append(fight(bench, _case(50, 2, reset=True)))
    results.append(_started_anew(bench))
    return results
