"""Measures the CPU time of a request beside redis-server.

In a checkout, with the example installed:

    PYTHONPATH=. python examples/resp/measure.py
"""

from __future__ import annotations

import sys
from statistics import median

from bench.contenders import REDIS, ours
from bench.contest import Bench, Case, fight
from bench.redis_benchmark import PROGRAM

TESTS = ("ping_mbulk", "set", "get", "incr", "lpush")
DEPTHS = (1, 16)
CONNECTIONS = 50


def main() -> None:
    """Measure in pairs, one next to the other in time, and print a table in Markdown."""
    print("| test | at a time | CPU, redis-server | CPU, the example | times as much |")
    print("|---|---|---|---|---|")
    for depth in DEPTHS:
        for test in TESTS:
            arguments: dict[str, int | str] = {
                "test": test,
                "connections": CONNECTIONS,
                "depth": depth,
            }
            case = Case("j", test, "request", PROGRAM, arguments, ours("resp"), (REDIS,))
            pairs = fight(Bench(seconds=0.5, pairs=7), case).pairs[REDIS.name]
            mine, theirs = (
                [reading["cpu_us"] for reading in each] for each in zip(*pairs, strict=True)
            )
            ratios = sorted(one / other for one, other in zip(mine, theirs, strict=True))
            print(
                f"| {test} | {depth} | {median(theirs):.2f} µs | {median(mine):.2f} µs"
                f" | {median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f}) |"
            )
            sys.stdout.flush()


if __name__ == "__main__":
    main()
