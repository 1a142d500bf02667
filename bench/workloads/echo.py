"""(a) Echo: 64 bytes on 1, 50 and 1,000 connections, one worker."""

from __future__ import annotations

from bench.contenders import FLOOR, echo, floor, ours
from bench.contest import Bench, Case, fight
from bench.results import Comparison, Goal

LETTER = "a"
TITLE = "Echo, 64 bytes"
CASES = ((1, False), (50, False), (50, True), (1000, False))
"""How many connections, and whether the clients ask without waiting."""


def _name(connections: int, *, polling: bool = False) -> str:
    return f"64 B × {connections:,}" + (", clients that poll" if polling else "")


def _cpu(against: str, limit: float) -> Goal:
    return Goal(LETTER, _name(50), "cpu_us", "≤", limit, against, "CPU per message")


GOALS = (
    _cpu(FLOOR, 1.25),
    _cpu("uvloop protocol", 1.0),
    _cpu("asyncio buffered protocol", 1.0),
    _cpu("Twisted", 0.60),
    _cpu("gevent", 0.60),
)


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    return [
        fight(
            bench,
            Case(
                LETTER,
                _name(connections, polling=polling),
                "message",
                "clients",
                {"connections": connections, "size": 64, "polling": int(polling)},
                ours("echo"),
                (floor(), *echo()),
            ),
        )
        for connections, polling in CASES
    ]
