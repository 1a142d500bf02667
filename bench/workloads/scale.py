"""Cost at scale: CPU per message with more connections, and with more workers."""

from __future__ import annotations

from bench.contenders import floor, ours
from bench.contest import Bench, Case, fight
from bench.results import Comparison, Goal, several

LETTER = "scale"
TITLE = "CPU per message at scale"
GOALS: tuple[Goal, ...] = ()
CONNECTIONS: tuple[int, ...] = (1, 10, 100, 1000, 10_000)
WORKERS: tuple[int, ...] = (1, 2, 4, 8, 16)
EVERYONE = 160
"""Connections when workers are varied: ten for each of sixteen."""


def _case(series: str, connections: int, workers: int) -> Case:
    x = connections if series == "connections" else workers
    return Case(
        LETTER,
        f"{several(connections, 'connection')}, {several(workers, 'worker')}",
        "message",
        "clients",
        {"connections": connections, "size": 64},
        ours("echo", workers=workers),
        (floor(),),
        series,
        x,
    )


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    connections, workers = CONNECTIONS, WORKERS
    if bench.quick:
        connections, workers = CONNECTIONS[:4], WORKERS[:3]
    cases = [_case("connections", count, 1) for count in connections]
    cases += [_case("workers", EVERYONE, count) for count in workers]
    return [fight(bench, case) for case in cases]
