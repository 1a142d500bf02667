"""Runs everything and writes a page: `python -m judges --markdown results.md`."""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from judges import cost, suites
from judges.servers import host, memcached
from judges.suites import SUITES, Result

HEAD = """# What others say of it

Written by `tox` in this folder (`python -m judges --markdown results.md`): do not edit it. It runs
memccapable of libmemcached-tools, and the tests that need a server of three clients, from their
source distributions, first against a memcached, then against this plugin in one worker. The tests
are changed in one thing: the server's port.

"""
COST = """
## What a request costs

CPU time of the worker for a request of one client, median of {slices} slices, beside an inline
`PING` of the line protocol in the same run. Values have {size} bytes. Processor: {processor}.

"""


def main() -> None:
    """Judge, print, and write the page."""
    parser = argparse.ArgumentParser(prog="judges", description=__doc__)
    parser.add_argument("--markdown", type=Path, help="the page to write")
    arguments = parser.parse_args()
    page = HEAD + _suites() + _cost()
    print(page)
    if arguments.markdown:
        arguments.markdown.write_text(page)


def _suites() -> str:
    version = subprocess.run(["memcached", "-V"], capture_output=True, text=True, check=True)
    lines = [f"| | {version.stdout.strip()} | prefork-keyvalue |", "|---|---|---|"]
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        versions = {suite.name: (suites.fetch(suite, folder),) for suite in SUITES}
        with memcached() as port:
            theirs = _judged(folder, port)
        for suite in SUITES:  # unpacked again: the port is another one
            suites.unpack(suite, folder)
        with host("keyvalue") as running:
            ours = _judged(folder, running.port)
    for name, result in theirs.items():
        lines.append(f"| {' '.join((name, *versions.get(name, ())))} | {result} | {ours[name]} |")
    lines += ["", "Left out, for both:", ""]
    lines += [f"- {suite.name}: `{name}` {why}" for suite in SUITES for name, why in suite.left_out]
    return "\n".join(lines) + "\n"


def _judged(folder: Path, port: int) -> dict[str, Result]:
    results = {"memccapable -a": suites.memccapable(port)}
    return results | {suite.name: suites.judge(suite, folder, port) for suite in SUITES}


def _cost() -> str:
    alone, many = cost.rows(1), cost.rows(16)
    said = COST.format(slices=cost.SLICES, size=len(cost.VALUE), processor=_processor())
    lines = ["| request | one at a time | times `PING` | 16 at a time | times `PING` |"]
    lines.append("|---|---|---|---|---|")
    for (name, one, ratio), (_, other, other_ratio) in zip(alone, many, strict=True):
        lines.append(
            f"| {name} | {one:.1f} µs | {ratio:.2f} | {other:.1f} µs | {other_ratio:.2f} |"
        )
    return said + "\n".join(lines) + "\n"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


main()
