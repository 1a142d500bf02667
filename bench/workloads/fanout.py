"""(f) Fan-out: in a chat one user speaks, 1,000 others and the speaker are sent it."""

from __future__ import annotations

from bench.contenders import FLOOR, floor, ours
from bench.contest import Bench, Case, fight
from bench.results import Comparison, Goal, several

LETTER = "f"
TITLE = "Chat, 1 sender to 1,000 receivers"
LIMITS = {"messages_per_second": 1_000_000, "burst": 1_000_000}


def _name(workers: int, window: int) -> str:
    return f"{several(workers, 'worker')}, {window} under way"


GOALS = (Goal(LETTER, _name(1, 1), "cpu_us", "≤", 1.5, FLOOR, "CPU per delivery"),)


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    users = 101 if bench.quick else 1001
    flags: list[str] = []
    for key, value in LIMITS.items():
        flags += ["--set", f"options.chat.{key}={value}"]
    return [
        fight(
            bench,
            Case(
                LETTER,
                _name(workers, window),
                "delivery",
                "fan",
                {"connections": users, "setup": "/join #all", "size": 64, "window": window},
                ours("chat", workers=workers, flags=tuple(flags)),
                (floor(fan=True),),
            ),
        )
        for workers, window in ((1, 1), (1, 20), (2, 1), (2, 20))
    ]
