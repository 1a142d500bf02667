"""(h) Echo, 64 bytes: 1,000 connections of which 100 are busy, one worker."""

from __future__ import annotations

from bench.contenders import echo, floor, ours
from bench.contest import Bench, Case, fight
from bench.results import Comparison, Goal

LETTER = "h"
TITLE = "90 % idle, 10 % busy connections"
GOALS: tuple[Goal, ...] = ()


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    case = Case(
        LETTER,
        "64 B × 1,000, 100 of them busy",
        "message",
        "clients",
        {"connections": 1000, "busy": 100, "size": 64},
        ours("echo"),
        (floor(), *echo()),
    )
    return [fight(bench, case)]
