"""Measures the costs that `bench.capacity` needs and `bench` does not measure, and keeps them."""

from __future__ import annotations

import argparse
import datetime
import json
import resource
import subprocess
from statistics import median

from bench import machine, tools
from bench.capacity import broker, hub, kernel
from bench.capacity.costs import MEASURED


def main() -> None:
    """Measure, and write the file; then docs/generate.py writes the page."""
    given = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    given.add_argument("--rounds", type=int, default=3, help="how often each case is measured")
    rounds = given.parse_args().rounds
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    tools.compiled()
    version = subprocess.run(
        ["redis-server", "--version"], capture_output=True, text=True, check=True
    )
    found = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "machine": machine.describe(),
        "redis-server": version.stdout.split("v=")[1].split()[0],
        "rounds": rounds,
        "kernel_kib": round(median(kernel.measure(rounds)), 2),
        "hub_us": _medians(hub.measure(rounds)),
        "broker_us": _medians(broker.measure(rounds)),
    }
    MEASURED.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(MEASURED.read_text(encoding="utf-8"), end="")


def _medians(found: dict[str, list[float]]) -> dict[str, float]:
    return {case: round(median(times), 2) for case, times in found.items()}


if __name__ == "__main__":
    main()
