"""Work in steps: a generator, whose steps are taken at once or a few in each turn of a loop."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]
"""Yields after each step, which takes far less than a millisecond, and returns the result."""


def finish(steps: Steps[T]) -> T:
    """Take all steps at once; return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
