"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import datetime
import resource
import sys
import traceback
from pathlib import Path

from bench import machine, page, plots, tables, tools
from bench.contenders import FAMILIES, versions
from bench.contest import Bench
from bench.results import Report
from bench.workloads import WORKLOADS


def _names(known: tuple[str, ...], what: str) -> type:
    def parse(text: str) -> list[str]:
        names = [name.strip().lower() for name in text.split(",") if name.strip()]
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(
                f"no such {what}: {', '.join(unknown)}; there are {', '.join(known)}"
            )
        return names

    return parse  # type: ignore[return-value]


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    known = tuple(WORKLOADS)
    made = argparse.ArgumentParser(
        prog="python -m bench",
        description="Compare the host with other servers, side by side, and judge the goals.",
        epilog="Workloads: "
        + "; ".join(f"{letter}: {module.TITLE}" for letter, module in WORKLOADS.items()),
    )
    add = made.add_argument
    add("--quick", action="store_true", help="short slices, small cases: only to see it work")
    add("--workloads", type=_names(known, "workload"), default=list(known), metavar="a,b,...")
    add("--peers", type=_names(FAMILIES, "peer"), metavar="asyncio,c,...", help=", ".join(FAMILIES))
    add("--seconds", type=float, metavar="S", help="how long a slice is (1; quick 0.2)")
    add("--pairs", type=int, metavar="N", help="pairs of slices of each comparison (7; quick 3)")
    add("--json", type=Path, metavar="FILE", help="write all readings")
    add("--from", type=Path, metavar="FILE", action="append", help="show readings, measure nothing")
    add("--plots", type=Path, metavar="DIR", help="draw plots into this folder")
    add("--markdown", type=Path, metavar="FILE", help="write a page, its plots beside it")
    return made


def measure(given: argparse.Namespace) -> tuple[Report, list[str]]:
    """Run the workloads; return the report, and the workloads that failed."""
    seconds = given.seconds or (0.2 if given.quick else 1.0)
    pairs = given.pairs or (3 if given.quick else 7)
    families = frozenset(given.peers) if given.peers else None
    bench = Bench(seconds, pairs, given.quick, families)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    settings = {"seconds": seconds, "pairs": pairs, "quick": float(given.quick)}
    report = Report(now, machine.describe(), versions(), settings)
    failed = []
    for letter in given.workloads:
        try:
            report.comparisons += WORKLOADS[letter].run(bench)
        except Exception:  # whatever went wrong with one, the others are still worth having
            failed.append(letter)
            traceback.print_exc()
        if given.json:
            report.save(given.json)
    return report, failed


def main() -> int:
    """Run."""
    given = parser().parse_args()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    failed: list[str] = []
    try:
        if getattr(given, "from"):
            report = Report.load(getattr(given, "from"))
            if given.json:
                report.save(given.json)
        else:
            tools.compiled()
            report, failed = measure(given)
        tables.show(report)
        if given.plots:
            plots.draw(report, given.plots)
        if given.markdown:
            page.write(report, given.markdown)
    except (tools.ToolError, plots.PlotError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    if failed:
        print(f"bench: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
