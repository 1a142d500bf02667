"""(e) Idle connections: the memory of each, and what the server does while nothing happens."""

from __future__ import annotations

import time
from contextlib import ExitStack

from bench.clients import Load, LoadError
from bench.contenders import Contender, echo, floor, ours
from bench.contest import Bench
from bench.proc import pss_kib, sleeps, sockets
from bench.results import Comparison, Goal, Reading
from bench.servers import Server, ServerError

LETTER = "e"
TITLE = "10,000 idle connections"
NAME = "idle connections"
COUNT = 10_000
WARMING = 100
"""Connections that are opened first: what is made only once belongs to none of them."""
SETTLE_SECONDS = 1.0
GOALS = (
    Goal(LETTER, NAME, "kib_each", "≤", 0.6, "asyncio protocol", "memory per connection"),
    Goal(LETTER, NAME, "kib_each", "≤", 1.0, None, "KiB per connection"),
    Goal(LETTER, NAME, "rest_percent", "≤", 0.1, None, "% of a core at rest"),
    Goal(LETTER, NAME, "wakeups", "≤", 1.0, None, "wake-ups a second, of any process"),
)


def memory(server: Server, stack: ExitStack, count: int) -> Reading:
    """Open connections that stay open, and tell what each costs."""
    listening = sum(sockets(server.pid).values())
    stack.enter_context(Load("clients", server, connections=WARMING))
    server.wait_for_sockets(listening + WARMING)
    before = pss_kib(server.pid)
    stack.enter_context(Load("clients", server, connections=count))
    server.wait_for_sockets(listening + WARMING + count, 60.0)
    time.sleep(SETTLE_SECONDS)
    return {"kib_each": (pss_kib(server.pid) - before) / count}


def rest(servers: dict[str, Server], seconds: float) -> dict[str, Reading]:
    """Tell what servers do while nothing happens; none of them disturbs another."""
    cpu = {name: server.cpu_seconds() for name, server in servers.items()}
    slept = {name: sleeps(server.pid) for name, server in servers.items()}
    time.sleep(seconds)
    readings = {}
    for name, server in servers.items():
        used = server.cpu_seconds() - cpu[name]
        now = sleeps(server.pid)
        counts = [count - slept[name].get(pid, 0) for pid, count in now.items()]
        # Between n wake-ups there are n - 1 pauses.
        wakeups = max(0, max(counts) - 1) / seconds
        readings[name] = {"rest_percent": used / seconds * 100, "wakeups": wakeups}
    return readings


def _round(bench: Bench, contenders: tuple[Contender, ...], result: Comparison) -> None:
    count, seconds = (1000, 3.0) if bench.quick else (COUNT, 10.0)
    servers: dict[str, Server] = {}
    readings: dict[str, Reading] = {}
    with ExitStack() as stack:
        for one in contenders:
            try:
                server = stack.enter_context(Server(one))
                readings[one.name] = memory(server, stack, count)
                servers[one.name] = server
            except (ServerError, LoadError) as error:
                result.notes.append(f"{one.name}: {str(error).splitlines()[0]}")
        for name, reading in rest(servers, seconds).items():
            readings[name] |= reading
    mine = readings.pop(result.ours)
    for name, reading in readings.items():
        result.pairs.setdefault(name, []).append((mine, reading))
    if not readings:
        result.solo.append(mine)


def run(bench: Bench) -> list[Comparison]:
    """Measure: each time with new servers."""
    host = ours("echo")
    others = (floor(), *echo("asyncio protocol", "uvloop protocol", "asyncio streams"))
    taking_part = [one for one in others if bench.takes_part(one) and not one.missing]
    result = Comparison(LETTER, NAME, "connection", host.name)
    rounds = 1 if bench.quick else min(3, bench.pairs)
    for number in range(rounds):
        bench.say(f"({LETTER}) {NAME}, {number + 1} of {rounds}")
        _round(bench, (host, *taking_part), result)
    return [result]
