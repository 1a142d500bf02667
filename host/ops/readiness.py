"""Whether new connections should be sent to the host, also while its supervisor answers nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from host.errors import RemoteError
from host.ipc.assignment import OpsAssignment
from host.ipc.scoreboard import PID, SUSPENDED
from host.ops.questions import Question
from host.runtime.usage import is_running

_LOOK_SECONDS = 0.05
"""How soon it is noticed that a supervisor that was asked executes itself, or ends."""


class Readiness:
    """Asks the supervisor; while that executes itself anew, the scoreboard says it.

    Connections are handed out meanwhile, so a probe that waited, or failed, would take the host out
    of service for nothing.

    Args:
        host: the host.
        question: asks the supervisor.
        longest_exec: seconds after which one that executes itself counts as hung.
        clock: the monotonic clock.
    """

    def __init__(
        self,
        host: OpsAssignment,
        question: Question[dict[str, Any]],
        longest_exec: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host, self._question, self._clock = host, question, clock
        self._longest_exec = longest_exec

    async def reason_against(self) -> str:
        """Return why no new connections should be sent there; "" if they should.

        Raises:
            RemoteError: the supervisor does not answer.
        """
        if (known := self._known()) is not None:
            return known
        asked = asyncio.ensure_future(self._question.answer())
        try:
            while not asked.done():
                await asyncio.wait({asked}, timeout=_LOOK_SECONDS)
                if (known := self._known()) is not None:
                    return known
            found = await asked
        except RemoteError:
            if (known := self._known()) is not None:
                return known
            raise
        finally:
            asked.cancel()
        return "" if found.get("ready") is True else str(found.get("not_ready"))

    def _known(self) -> str | None:
        """Return the answer if it is known while the supervisor answers nobody; None if it does."""
        if self._host.counts.is_ending:
            return "the host is stopping"
        return self._as_rows_say() if self.is_executing() else None

    def is_executing(self) -> bool:
        """Tell whether the supervisor executes itself, and may still do so."""
        since = self._host.counts.executing_since
        return bool(since) and self._clock() - since < self._longest_exec

    def _as_rows_say(self) -> str:
        """Return the same by the rows of the newest generation that has workers."""
        for generation in reversed(self._host.generations):
            known = [row for row in generation.scoreboard.rows if row.get(PID)]
            if known:  # who has died since is in a row of its own yet
                if any(not row.get(SUSPENDED) and is_running(row.get(PID)) for row in known):
                    return ""
                break
        return "no worker takes connections"
