"""Upkeep: finds the workers that hang, and those that have served long enough."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import NamedTuple

from host.ipc.heartbeat import BEAT_SECONDS, HangDetector
from host.runtime.processes import resident_bytes
from host.settings import Lifecycle
from host.supervisor.workers.handles import WorkerHandle
from host.supervisor.workers.states import WorkerState

_JITTER = 0.1
_MIB = 1024 * 1024


class Hung(NamedTuple):
    """A worker whose loop has not turned for so many seconds."""

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
    """

    def __init__(self, limits: Lifecycle) -> None:
        self._limits, self._watch = limits, HangDetector(limits.hang_seconds)
        self._worn = bool(
            limits.max_connections_served or limits.max_age_seconds or limits.max_memory_bytes
        )

    def look(
        self, hands: Iterable[WorkerHandle], now: float
    ) -> tuple[list[Hung], list[DueForReplacement]]:
        """Return who hangs and who is worn out."""
        # Beats count only after a worker was ready (it may import for long before).
        ready = [
            each
            for each in hands
            if each.member.was_ready
            and each.member.state in (WorkerState.READY, WorkerState.DRAINING)
        ]
        hung = [Hung(*each) for each in self._watch.look([each.reading for each in ready], now)]
        worn = []
        if self._worn:
            for hand in ready:
                if hand.member.state is WorkerState.READY and not hand.member.retiring:
                    cause = self._cause(hand, now)
                    if cause:
                        worn.append(DueForReplacement(hand.member.pid, cause))
        return hung, worn

    def next_look(self, now: float) -> float:
        """Return when to look again."""
        due = self._watch.next_look(now)
        return now + BEAT_SECONDS if due is None else min(due, now + BEAT_SECONDS)

    def _cause(self, hand: WorkerHandle, now: float) -> str:
        limits, pid = self._limits, hand.member.pid
        more = 1 + _JITTER * random.Random(pid).random()
        if limits.max_connections_served and hand.served >= limits.max_connections_served * more:
            return f"it has served {hand.served} connections (max_connections_served)"
        age = now - hand.member.born
        if limits.max_age_seconds and age >= limits.max_age_seconds * more:
            return f"it is {age:.0f} s old (max_age_seconds)"
        if limits.max_memory_bytes:
            taken = resident_bytes(pid)
            if taken is not None and taken >= limits.max_memory_bytes * more:
                return f"it takes {taken / _MIB:.0f} MiB of memory (max_memory_bytes)"
        return ""
