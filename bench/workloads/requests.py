"""(j) Redis' own clients: PING, inline and as an array, one and 16 at a time, one worker."""

from __future__ import annotations

from bench.contenders import REDIS, ours
from bench.contest import Bench, Case, fight
from bench.redis_benchmark import PROGRAM
from bench.results import Comparison, Goal

LETTER = "j"
TITLE = "Requests of redis-benchmark"
CONNECTIONS = 50
TESTS = {"inline": "ping_inline", "as arrays": "ping_mbulk"}
LIMITS = {("inline", 1): 1.3, ("inline", 16): 2.0, ("as arrays", 1): 1.6, ("as arrays", 16): 3.0}


def _name(form: str, depth: int) -> str:
    return f"PING {form}, {depth} at a time × {CONNECTIONS}"


GOALS = tuple(
    Goal(LETTER, _name(form, depth), "cpu_us", "≤", limit, REDIS.name, "CPU per request")
    for (form, depth), limit in LIMITS.items()
)


def run(bench: Bench) -> list[Comparison]:
    """Measure."""
    return [
        fight(
            bench,
            Case(
                LETTER,
                _name(form, depth),
                "request",
                PROGRAM,
                {"test": TESTS[form], "connections": CONNECTIONS, "depth": depth},
                ours("line"),
                (REDIS,),
            ),
        )
        for form, depth in LIMITS
    ]
