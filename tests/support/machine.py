"""Limits of time that mean the same on a machine with other things to do."""

from host.testing.machine import Stopwatch, patience

__all__ = ["Stopwatch", "patience"]
