"""Tasks of a pool, their results, and whose turn it is; no input or output.

Each connection with tasks has a *share* of the pool, and there is one for tasks of no connection.
Shares take turns, one task each, so that one with ten thousand tasks delays the others by no more
than one task for each process. What has been asked for in one share is answered in that order, as
protocols do; without a connection it is answered at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from host.interfaces import TaskCancelledError, WouldBlockError
from host.offload import coroutines

_FEW_STRUCK = 64
"""So many tasks that are over may be among those that wait without being looked for."""


class Result:
    """What comes of one call of `apply_async` or `map_async`; implements `host.Result`.

    Args:
        share: whose it is.
        cancel: called with it when it is cancelled.
        callback: who is told what it has returned; None for nobody.
        error_callback: who is told what it has raised.
        size: how many values the list has that its tasks return parts of; None if it is the one
            value of one task.

    Attributes:
        share, callback, error_callback: the same.
        is_over: whether it is done, has failed or was cancelled.
        has_failed: whether `value` is what it has raised.
        is_cancelled: whether nobody is to be told.
        is_delivered: whether its turn has come to be told.
        undone: how many of its tasks are not over.
        value: what it has returned or raised.
        tasks: its tasks.
    """

    __slots__ = (
        "_cancel",
        "_is_list",
        "_then",
        "callback",
        "error_callback",
        "has_failed",
        "is_cancelled",
        "is_delivered",
        "is_over",
        "share",
        "tasks",
        "undone",
        "value",
    )

    def __init__(
        self,
        share: Share,
        cancel: Callable[[Result], object],
        callback: Callable[..., object] | None = None,
        error_callback: Callable[..., object] | None = None,
        size: int | None = None,
    ) -> None:
        self.share, self.callback, self.error_callback = share, callback, error_callback
        self.undone = 1
        self.is_over = self.has_failed = self.is_cancelled = self.is_delivered = False
        self._cancel, self._is_list = cancel, size is not None
        self._then: list[Callable[[], object]] | None = None
        self.value: Any = [None] * (size or 0) if self._is_list else None
        self.tasks: list[Task] = []

    def ready(self) -> bool:
        """Tell whether it is over."""
        return self.is_over

    def successful(self) -> bool:
        """Tell whether nothing was raised."""
        if not self.is_over:
            raise ValueError("the task is not over yet")
        return not (self.has_failed or self.is_cancelled)

    def get(self) -> Any:
        """Return or raise what the task has."""
        if not self.is_over:
            raise WouldBlockError(
                "get() would wait for a task that is not over, and the loop never waits: give "
                "apply_async a callback, or await it in a coroutine"
            )
        if self.is_cancelled:
            raise TaskCancelledError("the task was cancelled")
        if not self.has_failed:
            return self.value
        try:
            raise self.value
        finally:
            del self  # the error knows this frame: the collector alone would free both

    def cancel(self) -> None:
        """Have no result."""
        self._cancel(self)

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for it, in a coroutine."""
        if not self.is_over:
            yield from coroutines.wait(self._call_when_over, self.cancel)
        try:
            return self.get()
        finally:
            del self  # as in `get`

    def add(self, index: int, value: Any) -> bool:
        """Take over what a task has returned; return whether it was the last one."""
        self.undone -= 1
        if self._is_list:
            self.value[index : index + len(value)] = value
        else:
            self.value = value
        if self.undone:
            return False
        self.is_over = True
        return True

    def fail(self, error: BaseException) -> None:
        """Be over, with what a task has raised."""
        self.is_over = self.has_failed = True
        self.value = error

    def give_up(self) -> None:
        """Be over, without a value."""
        self.is_over = self.is_cancelled = True
        self.has_failed, self.value = False, None
        self.wake()

    def wake(self) -> None:
        """Wake the coroutines that wait for it."""
        functions, self._then = self._then, None
        for function in functions or ():
            function()

    def _call_when_over(self, function: Callable[[], object]) -> None:
        if self._then is None:
            self._then = []
        self._then.append(function)


class Task:
    """One thing for a process or thread to do.

    Args:
        work: what it is given.
        result: what it is a part of.
        index: which part.
        timeout: for how many seconds it may wait, and then run; 0 for any time.

    Attributes:
        timer: ends that time.
        is_over: whether it is done, or not to be done any more.
        runner: who runs it; None as long as it waits.
        since: when it has begun to wait, or to run.
    """

    __slots__ = ("index", "is_over", "result", "runner", "since", "timeout", "timer", "work")

    def __init__(self, work: Any, result: Result, index: int, timeout: float) -> None:
        self.work, self.result, self.index, self.timeout = work, result, index, timeout
        self.timer: Any = None
        self.is_over = False
        self.runner: Any = None
        self.since = 0.0


class Share:
    """The tasks of one connection, or of none.

    Args:
        connection: whose they are; None for nobody's.

    Attributes:
        waiting: the tasks that have not begun, with some that are over already.
        struck: how many of these are over, at most.
        count: how many tasks belong to these.
        drop: ends them all with the connection.
    """

    __slots__ = ("_in_any_order", "_in_order", "connection", "count", "drop", "struck", "waiting")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.waiting: deque[Task] = deque()
        self._in_order: deque[Result] = deque()
        self._in_any_order: set[Result] = set()
        self.count = self.struck = 0
        self.drop: Callable[[], object] | None = None

    @property
    def results(self) -> list[Result]:
        """The results that were not delivered yet; those of a connection in their order."""
        return [*self._in_order, *self._in_any_order]

    def add(self, result: Result) -> None:
        """Take in a result and its tasks."""
        self.waiting += result.tasks
        self.count += len(result.tasks)
        if self.connection is None:
            self._in_any_order.add(result)
        else:
            self._in_order.append(result)

    def due(self, result: Result) -> list[Result]:
        """Take out what may be delivered now that a result is over, the first one first."""
        due = []
        if self.connection is not None:
            waiting = self._in_order
            while waiting and waiting[0].is_over:
                due.append(waiting.popleft())
        elif result in self._in_any_order:
            self._in_any_order.discard(result)
            due.append(result)
        for each in due:
            self.count -= len(each.tasks)
            each.tasks.clear()  # they have it, too: the collector alone would free both
        return due

    def is_empty(self) -> bool:
        """Tell whether there is no result to be delivered."""
        return not (self._in_order or self._in_any_order)


class Queue:
    """The tasks of a pool that have not begun, and all results that are still to come.

    Args:
        limit: how many tasks there may be, waiting, running or not delivered yet.

    Attributes:
        count: how many there are.
        turns: the shares that have somebody waiting, the next one first.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._shares: dict[Any, Share] = {}
        self.turns: deque[Share] = deque()
        self.count = 0

    def share(self, connection: Any) -> Share:
        """Return the share of a connection; None stands for tasks of no connection."""
        share = self._shares.get(connection)
        if share is None:
            share = self._shares[connection] = Share(connection)
        return share

    def has(self, connection: Any) -> bool:
        """Tell whether a connection has a share."""
        return connection in self._shares

    def room(self, connection: Any) -> int:
        """Return how many tasks more a connection may have.

        It is never more than what is left for all others: so one connection takes half of the room
        at most, two take a third each, and there is always some left for a newcomer (dynamic
        thresholds: Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998).
        """
        free = self._limit - self.count
        if connection is None:
            return free
        share = self._shares.get(connection)
        own = share.count if share is not None else 0
        return (free - own + 1) // 2

    def add(self, result: Result) -> None:
        """Queue the tasks of a result."""
        share = result.share
        if not share.waiting:
            self.turns.append(share)
        share.add(result)
        self.count += len(result.tasks)

    def take(self) -> Task | None:
        """Take out the task whose turn it is; None if nobody waits."""
        turns = self.turns
        while turns:
            share = turns.popleft()
            waiting = share.waiting
            while waiting:
                task = waiting.popleft()
                if not task.is_over:
                    if waiting:
                        turns.append(share)
                    return task
        return None

    def put_back(self, task: Task) -> None:
        """Have a task wait that was taken out, before all others."""
        share = task.result.share
        if share.waiting:
            self.turns.remove(share)
        share.waiting.appendleft(task)
        self.turns.appendleft(share)

    def strike(self, task: Task) -> None:
        """Keep nothing of a task that is over before it has begun."""
        task.work = None
        share = task.result.share
        share.struck += 1
        if share.struck > _FEW_STRUCK and share.struck * 2 > len(share.waiting):
            self._clear(share)

    def _clear(self, share: Share) -> None:
        """Take those that are over out of those that wait."""
        if share.waiting:
            share.waiting = deque(each for each in share.waiting if not each.is_over)
            if not share.waiting:
                self.turns.remove(share)
        share.struck = 0

    def deliver(self, result: Result) -> list[Result]:
        """Return what may be delivered now that a result is over, the first one first.

        Those that were cancelled are among them.
        """
        share = result.share
        before = share.count
        due = share.due(result)
        self.count -= before - share.count
        if share.connection is not None and share.is_empty():
            self._shares.pop(share.connection, None)
            self._clear(share)
        return due

    def results(self) -> list[Result]:
        """Return all results that are still to come."""
        return [each for share in self._shares.values() for each in share.results]

    def of(self, connection: Any) -> list[Result]:
        """Return those of one connection."""
        share = self._shares.get(connection)
        return list(share.results) if share is not None else []
