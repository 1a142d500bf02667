"""What a chaos run has found, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from host.text import aligned

_NOT_TRIED = "-"


@dataclass(frozen=True)
class Outcome:
    """How one scene went, over one transport.

    Attributes:
        scene: its name.
        transport: the transport's name, or `memory`.
        problem: why it did not hold; empty if it did.
    """

    scene: str
    transport: str
    problem: str = ""


def problems(outcomes: Iterable[Outcome]) -> list[str]:
    """Return what did not hold, and why, a line each."""
    return [
        f"{outcome.scene}, {outcome.transport}: {outcome.problem}"
        for outcome in outcomes
        if outcome.problem
    ]


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a table with a line for each scene and a column for each transport."""
    scenes = list(dict.fromkeys(outcome.scene for outcome in outcomes))
    transports = list(dict.fromkeys(outcome.transport for outcome in outcomes))
    cells = {
        (outcome.scene, outcome.transport): "NOT HELD" if outcome.problem else "held"
        for outcome in outcomes
    }
    lines = [["", *transports]]
    for scene in scenes:
        lines.append([scene, *(cells.get((scene, each), _NOT_TRIED) for each in transports)])
    return aligned(lines, range(len(lines[0])))
