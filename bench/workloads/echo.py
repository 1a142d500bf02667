"""(a) Echo: 64 bytes on 1, 50 and 1,000 connections, one worker."""

from __future__ import annotations

from bench.contenders import FLOOR, echo, floor, ours
from bench.contest import Bench, Case, fight
from bench.results import Comparison, Goal

LETTER = "a"
TITLE = "Echo, 64 bytes"
CONNECTIONS = (1, 50, 1000)


def _name(connections: int) -> str:
    return f"64 B × {connections:,}"


def _cpu(against: str, limit: float) -> Goal:
    return Goal(LETTER, _name(50), "cpu_us", "≤", limit, against, "CPU per message")


GOALS = (
    _cpu(FLOOR, 1.25),
    _cpu("uvloop protocol", 1.0),
    _cpu("asyncio protocol", 0.75),
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
                _name(connections),
                "message",
                "clients",
                {"connections": connections, "size": 64},
                ours("echo"),
                (floor(), *echo()),
            ),
        )
        for connections in CONNECTIONS
    ]
