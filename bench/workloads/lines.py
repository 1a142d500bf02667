"""(c) Lines of 64 bytes, 1 and 16 at a time, each answered by itself, one worker."""

from __future__ import annotations

from bench.contenders import LINES, ours_with
from bench.contest import Bench, Case, fight
from bench.results import Comparison, Goal

LETTER = "c"
TITLE = "Lines, 64 bytes"
CONNECTIONS = 50
DEPTHS = (1, 16)


def _name(depth: int) -> str:
    return f"lines, {depth} at a time × {CONNECTIONS}"


def _cpu(against: str, limit: float) -> Goal:
    return Goal(LETTER, _name(16), "cpu_us", "≤", limit, against, "CPU per line")


GOALS = (
    _cpu("uvloop streams", 0.20),
    _cpu("uvloop protocol, a write each", 0.25),
    _cpu("uvloop protocol, joined", 1.0),
)
OPTIONS = ("--set", 'options.line.commands=["lines"]')


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    host = ours_with("lines.py", "line", flags=OPTIONS)
    return [
        fight(
            bench,
            Case(
                LETTER,
                _name(depth),
                "line",
                "clients",
                {"connections": CONNECTIONS, "size": 64, "depth": depth, "lines": 1},
                host,
                LINES,
            ),
        )
        for depth in DEPTHS
    ]
