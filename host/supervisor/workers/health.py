"""Finds the workers that hang, and those that are due for replacement."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import NamedTuple

from host.ipc.heartbeat import BEAT_SECONDS
from host.runtime.processes import resident_bytes
from host.settings import Lifecycle
from host.supervisor.workers.handles import WorkerHandle
from host.supervisor.workers.hang_detector import HangDetector
from host.supervisor.workers.states import WorkerState
from host.text import counted

_JITTER = 0.1
_MIB = 1024 * 1024


class Hung(NamedTuple):
    """A worker that has not got on for so many seconds."""

    pid: int
    seconds: float


class DueForReplacement(NamedTuple):
    """A worker that is to be replaced, and why."""

    pid: int
    cause: str


class HealthCheck:
    """Looks at the workers about once a second.

    Args:
        limits: what the settings say. Each worker may go up to a tenth beyond, by chance, so that
            those that were started together are not replaced together.
        memory: tells how many bytes a process has resident, by its pid; None if it has ended.
    """

    def __init__(
        self, limits: Lifecycle, memory: Callable[[int], int | None] = resident_bytes
    ) -> None:
        self._limits, self._hang_detector = limits, HangDetector(limits.hang_seconds)
        self._memory = memory
        self._has_limits = bool(
            limits.max_connections_served or limits.max_age_seconds or limits.max_memory_bytes
        )

    def look(
        self, handles: Iterable[WorkerHandle], now: float
    ) -> tuple[list[Hung], list[DueForReplacement]]:
        """Return which workers hang, and which are due for replacement."""
        # Beats count only after a worker was ready (it may import for long before).
        ready = [
            each
            for each in handles
            if each.record.was_ready
            and each.record.state in (WorkerState.READY, WorkerState.DRAINING)
        ]
        hung = [
            Hung(*each) for each in self._hang_detector.look([each.reading for each in ready], now)
        ]
        due = []
        if self._has_limits:
            for handle in ready:
                if handle.record.state is WorkerState.READY and not handle.record.retiring:
                    cause = self._cause(handle, now)
                    if cause:
                        due.append(DueForReplacement(handle.record.pid, cause))
        return hung, due

    def next_look(self, now: float) -> float:
        """Return when to look again."""
        due = self._hang_detector.next_look(now)
        return now + BEAT_SECONDS if due is None else min(due, now + BEAT_SECONDS)

    def _cause(self, handle: WorkerHandle, now: float) -> str:
        limits, pid = self._limits, handle.record.pid
        more = 1 + _JITTER * random.Random(pid).random()
        if limits.max_connections_served and handle.served >= limits.max_connections_served * more:
            return f"it has served {counted(handle.served, 'connection')} (max_connections_served)"
        age = now - handle.record.born
        if limits.max_age_seconds and age >= limits.max_age_seconds * more:
            return f"it is {age:.0f} s old (max_age_seconds)"
        if limits.max_memory_bytes:
            taken = self._memory(pid)
            if taken is not None and taken >= limits.max_memory_bytes * more:
                return f"it takes {taken / _MIB:.0f} MiB of memory (max_memory_bytes)"
        return ""
