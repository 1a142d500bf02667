"""Counts bytecodes: a measure of work that no busy machine changes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, SimpleNamespace
from typing import Any


@contextmanager
def counted_bytecodes() -> Iterator[SimpleNamespace]:
    """Count the bytecodes that are run in the block, but for the block's own, in `total`."""
    counts = SimpleNamespace(total=0)

    def trace(frame: FrameType, event: str, _: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counts.total += event == "opcode"
        return trace

    before = sys.gettrace()
    # CPython 3.12 tells of bytecodes only if a frame has asked for them before settrace().
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        yield counts
    finally:
        sys.settrace(before)
