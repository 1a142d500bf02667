"""Asks the supervisor what only it knows, one question of a kind at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any


class Question:
    """One question; those who ask at the same time share an answer, which is never an old one.

    Args:
        ask: asks, and waits for the answer; it raises RemoteError if there is none.
        threads: where the answer is waited for.
    """

    def __init__(self, ask: Callable[[], dict[str, Any]], threads: Executor) -> None:
        self._ask, self._threads = ask, threads
        self._asked: asyncio.Task[dict[str, Any]] | None = None
        self._next: asyncio.Task[dict[str, Any]] | None = None

    async def answer(self) -> dict[str, Any]:
        """Return the answer to a question that is asked from now on.

        Raises:
            RemoteError: there is none.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._ask_after(self._asked))
        return await asyncio.shield(self._next)

    async def _ask_after(self, before: asyncio.Task[dict[str, Any]] | None) -> dict[str, Any]:
        if before is not None:
            await asyncio.wait({before})
        self._asked, self._next = self._next, None
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask)
