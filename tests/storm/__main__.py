"""Runs rows of the table and prints what was measured: `python -m storm --quick --rows 1,20-22`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path

from storm import report
from storm.rows import Outcome, run_row
from storm.table import ROWS


def chosen(text: str) -> list[int]:
    """Return the numbers in `1,2,20-22` that have a row."""
    numbers: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    if unknown := [number for number in numbers if number not in ROWS]:
        raise argparse.ArgumentTypeError(f"no such row: {unknown}")
    return numbers


def show(outcome: Outcome) -> None:
    """Print one row as soon as it is known."""
    print(f"{outcome.number:3} {outcome.held:7} {outcome.seconds:6.1f} s  {outcome.fault}")
    if outcome.measured:
        print(f"{'':12} {outcome.measured}")
    for reason in outcome.reasons:
        print(f"{'':12} ! {reason}")
    sys.stdout.flush()


def main() -> int:
    """Return how many rows do not hold."""
    parser = argparse.ArgumentParser(prog="storm", description=__doc__.partition(":")[0])
    parser.add_argument("--quick", action="store_true", help="the short form of each row")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="for the rounds of a row's long form"
    )
    parser.add_argument("--seed", type=int, default=0, help="for what is left to chance")
    parser.add_argument("--rows", type=chosen, default=sorted(ROWS), help="as 1,2,20-22")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="also write the outcome here; rows that are there and were not run now are kept",
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table for docs")
    arguments = parser.parse_args()
    outcomes = kept(arguments.json)
    for number in arguments.rows:
        outcomes[number] = run_row(
            number, quick=arguments.quick, minutes=arguments.minutes, seed=arguments.seed
        )
        show(outcomes[number])
        if arguments.json:
            text = json.dumps([asdict(outcomes[each]) for each in sorted(outcomes)], indent=2)
            arguments.json.write_text(text + "\n")
    if arguments.markdown:
        page = report.page([outcomes[each] for each in sorted(outcomes)])
        arguments.markdown.write_text(page)
    return sum(outcomes[number].held == "no" for number in arguments.rows)


def kept(path: Path | None) -> dict[int, Outcome]:
    """Return the outcomes that a file has."""
    if path is None or not path.exists():
        return {}
    found = [Outcome(**each) for each in json.loads(path.read_text())]
    return {outcome.number: outcome for outcome in found}


if __name__ == "__main__":
    sys.exit(min(main(), 100))
