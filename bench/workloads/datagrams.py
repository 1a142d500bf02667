"""(u) Echo of datagrams: 64 B, 16 clients with 4 under way, and 256 with one, one worker."""

from __future__ import annotations

from bench.contenders import FLOOR, datagram_floor, datagrams, ours
from bench.contest import Bench, Case, fight
from bench.results import Comparison, Goal

LETTER = "u"
TITLE = "Echo, datagrams"
FIRST = "64 B, 4 at a time × 16"
CASES = {FIRST: (16, 4), "64 B × 256": (256, 1)}
_WHAT = "CPU per datagram"
GOALS = (
    Goal(LETTER, FIRST, "cpu_us", "≤", 2.5, FLOOR, _WHAT),
    Goal(LETTER, FIRST, "cpu_us", "≤", 0.7, "uvloop datagrams", _WHAT),
    Goal(LETTER, FIRST, "cpu_us", "≤", 0.5, "asyncio datagrams", _WHAT),
)


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    return [
        fight(
            bench,
            Case(
                LETTER,
                name,
                "datagram",
                "datagrams",
                {"clients": clients, "depth": depth, "size": 64},
                ours("echo", listen="udp://127.0.0.1:0"),
                (datagram_floor(), *datagrams()),
            ),
        )
        for name, (clients, depth) in CASES.items()
    ]
