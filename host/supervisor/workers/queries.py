"""Queries to workers: asked of many at a time, answered by a deadline or not at all."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from host.ipc.protocol import Ask, ask_order
from host.runtime.loop import Loop, TimerHandle

ANSWER_SECONDS = 1.0
"""How long a worker has to answer: what it does meanwhile comes first."""

Item = dict[str, Any]
Done = Callable[[dict[int, list[Item]], list[int]], object]
"""Called with the items that each worker (by pid) has answered, and with those who have not."""


@dataclass(slots=True, eq=False)
class _Query:
    waited_for: set[int]
    done: Done
    items: dict[int, list[Item]] = field(default_factory=dict)
    unanswered: list[int] = field(default_factory=list)
    timer: TimerHandle | None = None


class WorkerQueries:
    """The questions that are under way.

    Args:
        send: sends bytes to the worker with this pid without waiting; False if it takes none.
    """

    def __init__(self, loop: Loop, send: Callable[[int, bytes], bool]) -> None:
        self._loop, self._send = loop, send
        self._numbers = itertools.count(1)
        self._open: dict[int, _Query] = {}

    def ask(self, pids: Iterable[int], question: str, args: dict[str, Any], done: Done) -> None:
        """Ask workers; `done` is called once, when all have answered or the time is up."""
        number = next(self._numbers)
        order = ask_order(Ask(number, question, args))
        asked = self._open[number] = _Query(set(), done)
        for pid in pids:
            if self._send(pid, order):
                asked.waited_for.add(pid)
            else:
                asked.unanswered.append(pid)
        asked.timer = self._loop.call_at(
            self._loop.now + ANSWER_SECONDS, lambda: self._finish(number)
        )
        self._finish_if_complete(number)

    def take_answer(self, pid: int, data: dict[str, Any]) -> None:
        """Take a part of an answer; a worker is not trusted to have been asked."""
        number, items = data.get("number"), data.get("items")
        asked = self._open.get(number) if isinstance(number, int) else None
        if (
            number is None
            or asked is None
            or pid not in asked.waited_for
            or not isinstance(items, list)
        ):
            return
        asked.items.setdefault(pid, []).extend(each for each in items if isinstance(each, dict))
        if data.get("last", True):
            asked.waited_for.discard(pid)
            self._finish_if_complete(number)

    def forget_worker(self, pid: int) -> None:
        """Wait no more for a worker that has ended."""
        for number, asked in list(self._open.items()):
            if pid in asked.waited_for:  # it has nothing to tell any more
                asked.waited_for.discard(pid)
                self._finish_if_complete(number)

    def _finish_if_complete(self, number: int) -> None:
        if not self._open[number].waited_for:
            self._finish(number)

    def _finish(self, number: int) -> None:
        asked = self._open.pop(number)
        if asked.timer is not None:
            asked.timer.cancel()
        asked.done(asked.items, asked.unanswered + sorted(asked.waited_for))
