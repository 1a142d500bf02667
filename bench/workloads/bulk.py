"""(b) Echo of large messages: 16 KiB on 50 connections, 1 MiB on 8, one worker."""

from __future__ import annotations

from bench.contenders import echo, floor, ours
from bench.contest import Bench, Case, fight
from bench.results import Comparison, Goal

LETTER = "b"
TITLE = "Echo, large messages"
CASES = {"16 KiB × 50": (16 * 1024, 50), "1 MiB × 8": (1024 * 1024, 8)}
GOALS = (Goal(LETTER, "16 KiB × 50", "rate", "≥", 1.0, "uvloop protocol", "messages per second"),)


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    return [
        fight(
            bench,
            Case(
                LETTER,
                name,
                "message",
                "clients",
                {"connections": connections, "size": size},
                ours("echo"),
                (floor(), *echo()),
            ),
        )
        for name, (size, connections) in CASES.items()
    ]
