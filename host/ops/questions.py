"""Asks what takes a while to answer, one question of a kind at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Generic, TypeVar

Answer = TypeVar("Answer")
_LONGEST_REST_SECONDS = 0.2


class Question(Generic[Answer]):
    """One question; those who ask at the same time share an answer, which is never an old one.

    Args:
        ask: asks, and waits for the answer; it raises RemoteError if there is none.
        threads: where the answer is waited for.
        share: how much of a CPU it may take, up to 1: the next question waits, and more of those
            who ask share its answer. It waits a moment at most, however long this one has taken.
    """

    def __init__(self, ask: Callable[[], Answer], threads: Executor, share: float = 1.0) -> None:
        self._ask, self._threads, self._share = ask, threads, share
        self._rests_until = 0.0
        self._asked: asyncio.Task[Answer] | None = None
        self._next: asyncio.Task[Answer] | None = None

    async def answer(self) -> Answer:
        """Return the answer to a question that is asked from now on.

        Raises:
            RemoteError: there is none.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._ask_after(self._asked))
        return await asyncio.shield(self._next)

    async def _ask_after(self, before: asyncio.Task[Answer] | None) -> Answer:
        if before is not None:
            await asyncio.wait({before})
        rest = self._rests_until - time.monotonic()
        if rest > 0:
            await asyncio.sleep(rest)
        self._asked, self._next = self._next, None
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask_now)

    def _ask_now(self) -> Answer:
        """Ask, in a thread, and note how long the next one is to wait."""
        began = time.thread_time()
        try:
            return self._ask()
        finally:
            took = time.thread_time() - began
            rest = min(took / self._share - took, _LONGEST_REST_SECONDS)
            self._rests_until = time.monotonic() + rest
