"""Asks what takes a while to answer, one question of a kind at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, TypeVar

Answer = TypeVar("Answer")
_LONGEST_REST_SECONDS = 0.2


class Question(Generic[Answer]):
    """One question; those who ask at the same time share an answer, which is never an old one.

    Args:
        ask: asks, and waits for the answer; it raises RemoteError if there is none.
        share: how much of a CPU this process may take for it, up to 1: the next question waits, and
            more of those who ask share its answer. It waits a moment at most, however long this one
            has taken.
    """

    def __init__(self, ask: Callable[[], Awaitable[Answer]], share: float = 1.0) -> None:
        self._ask, self._share = ask, share
        self._rests_until = 0.0
        self._waiting: list[asyncio.Future[Answer]] = []
        self._asking: asyncio.Task[None] | None = None

    async def answer(self) -> Answer:
        """Return the answer to a question that is asked from now on.

        Raises:
            RemoteError: there is none.
        """
        waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask_for_all())
        return await waiter

    async def _ask_for_all(self) -> None:
        """Ask until nobody waits for an answer."""
        while self._waiting:
            rest = self._rests_until - time.monotonic()
            if rest > 0:
                await asyncio.sleep(rest)
            waiting, self._waiting = self._waiting, []
            began = time.process_time()
            try:
                answer = await self._ask()
            except Exception as error:
                for waiter in _still(waiting):
                    waiter.set_exception(error)
            else:
                for waiter in _still(waiting):
                    waiter.set_result(answer)
            took = time.process_time() - began
            rest = min(took / self._share - took, _LONGEST_REST_SECONDS)
            self._rests_until = time.monotonic() + rest
        self._asking = None


def _still(waiting: list[asyncio.Future[Answer]]) -> Iterator[asyncio.Future[Answer]]:
    """Return those who have not gone meanwhile."""
    return (waiter for waiter in waiting if not waiter.done())
