"""The page about what was measured: the table, and on which machine."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from storm.rows import Outcome

WIDTH = 110
INTRODUCTION = """# Reliability

What was done to real hosts, what must hold then, and what was measured. The load is 8 clients in
closed loops (connect, one line, the answer, close) and 200 sessions that stay and number their
lines, against 4 workers, unless the row says otherwise. A failure is *owned* when its connection
was on a worker that was killed. `tox -e storm` measures again and writes this page; a short form of
most rows, of seconds, is among the tests. Where the table says "short form", what was slower than
it should be counts only from ten times the limit on; where it says "20 of 300", the time was up
after so many rounds.

In row 60 members of all hosts write down what they publish, hear and own, and a checker that knows
nothing of the bus compares that with [what it promises](bus.md#what-it-promises). Each host has a
relay to the broker that holds what passes, as a partition does. The same is among the tests with
real links in network namespaces: down, with lost packets, or with nothing passing in one direction.
"""


def machine() -> str:
    """Return the machine in a sentence: CPU, cores, kernel, Python."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    release = platform.release().partition("-")[0]
    return (
        f"{model}, {os.cpu_count()} cores, shared with the clients; Linux {release}, Python"
        f" {platform.python_version()}"
    )


def page(outcomes: Sequence[Outcome]) -> str:
    """Return the page in Markdown."""
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    parts = [INTRODUCTION, _folded(f"{today}, on {machine()}.") + "\n", table(outcomes)]
    wrong = [outcome for outcome in outcomes if outcome.held == "no"]
    skipped = [outcome for outcome in outcomes if outcome.held == "skipped"]
    parts += _listed("What does not hold", wrong, "All rows hold.")
    if skipped:
        parts += _listed("What was skipped", skipped, "")
    return "\n".join(parts)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the table in Markdown."""
    lines = ["| # | fault | must hold | measured | held |", "|---|---|---|---|---|"]
    for each in outcomes:
        form = ""
        if each.held != "skipped" and (each.quick or each.reduced):
            form = f" ({'short form' if each.quick else each.reduced})"
        cells = [str(each.number), each.fault, each.must, each.measured, each.held + form]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _listed(title: str, outcomes: Sequence[Outcome], otherwise: str) -> list[str]:
    lines = [f"## {title}\n"]
    for each in outcomes:
        for reason in each.reasons:
            lines.append(_folded(f"- Row {each.number}: {reason.strip().splitlines()[-1]}"))
    return [*lines, ""] if outcomes else [*lines, otherwise + "\n"]


def _folded(text: str) -> str:
    """Fold a list item at the page's width."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line = "  " + word
        else:
            line = f"{line} {word}" if line else word
    return "\n".join([*lines, line])
