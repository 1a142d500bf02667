"""Queries to workers: asked of many, answered by a deadline or not at all."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from host.ipc.protocol import ANSWER_SECONDS, LONGEST_ANSWER_SECONDS, Ask, ask_order
from host.runtime.loop import Loop, TimerHandle

AT_A_TIME = 4
"""How many workers answer a query at the same time: what they say in one turn is read at once."""

Item = dict[str, Any]
Done = Callable[[dict[int, list[Any]], list[int]], object]
"""Called with the items that each worker (by pid) has answered, and with those who have not."""
Keep = Callable[[list[Item]], list[Any]]
"""Makes of some items what is kept of them until all have answered."""


@dataclass(slots=True, eq=False)
class _Query:
    """A query that is under way.

    Attributes:
        number: by which its answers are recognised.
        latest: when it is over at the latest.
        unasked: the workers whose turn has not come.
        descriptor: what comes with the question, if anything does.
        waited_for: until when each of the others is waited for.
        items: what is kept of what they have answered.
        unanswered: those whose answer has not come, or not all of it.
    """

    number: int
    question: str
    args: dict[str, Any]
    done: Done
    keep: Keep
    latest: float
    unasked: deque[int]
    descriptor: int | None
    waited_for: dict[int, float] = field(default_factory=dict)
    items: dict[int, list[Any]] = field(default_factory=dict)
    unanswered: list[int] = field(default_factory=list)
    timer: TimerHandle | None = None


class WorkerQueries:
    """The questions that are under way.

    A worker has `ANSWER_SECONDS` for the first part of its answer and again for each further one.
    All of them together have `LONGEST_ANSWER_SECONDS`. What comes later counts for nothing.

    Args:
        send: sends bytes to the worker with this pid without waiting; False if it takes none.
        send_descriptor: does the same with a descriptor.
    """

    def __init__(
        self,
        loop: Loop,
        send: Callable[[int, bytes], bool],
        send_descriptor: Callable[[int, bytes, int], bool] = lambda *_: False,
    ) -> None:
        self._loop, self._send, self._send_descriptor = loop, send, send_descriptor
        # Not from 1: a reload begins anew, and answers to those before it may still be under way.
        self._numbers = itertools.count(int(loop.now * 1e6))
        self._open: dict[int, _Query] = {}

    def ask(
        self,
        pids: Iterable[int],
        question: str,
        args: dict[str, Any],
        done: Done,
        *,
        keep: Keep = list,
        descriptor: int | None = None,
    ) -> None:
        """Ask workers; `done` is called once, when all have answered or the time is up.

        Args:
            pids: who is asked.
            question: what they are asked.
            args: what belongs to the question.
            done: called with all that was kept.
            keep: called with the items of each part of an answer; without it they are kept.
            descriptor: comes with the question; it must be open until `done` is called.
        """
        number, latest = next(self._numbers), self._loop.now + LONGEST_ANSWER_SECONDS
        query = _Query(number, question, args, done, keep, latest, deque(pids), descriptor)
        self._open[number] = query
        self._go_on(query)

    def take_answer(self, pid: int, data: dict[str, Any]) -> None:
        """Take a part of an answer; a worker is not trusted to have been asked."""
        number, items = data.get("number"), data.get("items")
        query = self._open.get(number) if isinstance(number, int) else None
        if query is None or pid not in query.waited_for or not isinstance(items, list):
            return
        kept = query.items.setdefault(pid, [])
        kept += query.keep([each for each in items if isinstance(each, dict)])
        if data.get("last", True):
            del query.waited_for[pid]
            self._go_on(query)
        else:
            query.waited_for[pid] = min(self._loop.now + ANSWER_SECONDS, query.latest)

    def forget_worker(self, pid: int) -> None:
        """Wait no more for a worker that has ended."""
        for query in list(self._open.values()):
            if pid in query.unasked:
                query.unasked.remove(pid)
            elif query.waited_for.pop(pid, None) is not None:  # it has nothing to tell any more
                self._go_on(query)

    def _go_on(self, query: _Query) -> None:
        """Ask those whose turn has come; the query is over if nobody is left."""
        deadline = min(self._loop.now + ANSWER_SECONDS, query.latest)
        order = ask_order(Ask(query.number, query.question, query.args, deadline))
        while query.unasked and len(query.waited_for) < AT_A_TIME:
            pid = query.unasked.popleft()
            if self._send_order(query, pid, order):
                query.waited_for[pid] = deadline
            else:
                query.unanswered.append(pid)
        if not query.waited_for:
            self._finish(query)
        elif query.timer is None:
            due = min(query.waited_for.values())
            query.timer = self._loop.call_at(due, lambda: self._on_timer(query))

    def _send_order(self, query: _Query, pid: int, order: bytes) -> bool:
        if query.descriptor is None:
            return self._send(pid, order)
        return self._send_descriptor(pid, order, query.descriptor)

    def _on_timer(self, query: _Query) -> None:
        """Wait no more for those whose time is up."""
        now = self._loop.now
        late = [pid for pid, due in query.waited_for.items() if due <= now]
        for pid in late:
            del query.waited_for[pid]
        query.unanswered += late
        if now >= query.latest:
            query.unanswered += query.unasked
            query.unasked.clear()
        query.timer = None
        self._go_on(query)

    def _finish(self, query: _Query) -> None:
        del self._open[query.number]
        if query.timer is not None:
            query.timer.cancel()
        query.done(query.items, sorted(query.unanswered))
