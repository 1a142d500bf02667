"""Numbers on the command line that are to be counted with: neither infinite nor none at all."""

from __future__ import annotations

import math
from typing import Any

import click

_A_YEAR = 31_536_000.0


class Number(click.FloatRange):
    """A number that is finite: `nan` and `inf` are numbers to float(), and to every comparison."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number of a text."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number to count with", param, ctx)
        return number


SECONDS = Number(0, _A_YEAR, min_open=True)
"""How long something may take. The kernel takes no time without end as a number."""
