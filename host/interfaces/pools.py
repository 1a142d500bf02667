"""Pools, as plugins see them: work that is done off the loop, in processes or threads."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, Protocol


class PoolError(Exception):
    """Something is wrong with a pool or one of its tasks."""


class PoolFullError(PoolError):
    """A pool takes no more tasks for now: too many wait."""


class TaskLostError(PoolError):
    """The process of a task has ended before the task was done.

    Attributes:
        code: its exit code; None if a signal has ended it, or if nobody knows.
        signal: the number of that signal; None for none.
    """

    def __init__(self, message: str, code: int | None = None, signal: int | None = None) -> None:
        super().__init__(message)
        self.code, self.signal = code, signal


class TaskTimeoutError(PoolError, TimeoutError):
    """A task has not been done in its time."""


class TaskCancelledError(PoolError):
    """A task was cancelled: it has no result."""


class PicklingError(PoolError):
    """The function of a task, its arguments or its result cannot be passed between processes."""


class WouldBlockError(PoolError):
    """Something was called that would wait, and the loop never waits."""


class Result(Protocol):
    """What comes of a task: `multiprocessing.pool.AsyncResult`, for a loop that never waits.

    In a coroutine it can be awaited.
    """

    def ready(self) -> bool:
        """Tell whether the task is over."""

    def successful(self) -> bool:
        """Tell whether it has raised nothing.

        Raises:
            ValueError: it is not over yet.
        """

    def get(self) -> Any:
        """Return what the task has returned, or raise what it has raised.

        Raises:
            WouldBlockError: it is not over yet.
            TaskCancelledError: it was cancelled.
        """

    def cancel(self) -> None:
        """Have no result: nobody is called back. Harmless if somebody was already.

        A task that waits is never begun. A running one ends with its process, which is replaced; a
        thread cannot be ended, so that its result is dropped.
        """

    def __await__(self) -> Generator[Any, None, Any]:
        """Wait for the result, in a coroutine."""


class Pool(Protocol):
    """Processes or threads that work for one worker: the names are those of multiprocessing.Pool.

    Only the loop's thread may use it. A process of a pool is a fresh interpreter: the function, its
    arguments and its result are pickled, so the function must be one that can be imported, and it
    sees nothing of the plugin's state. Results are unpickled in the worker, so a pool protects
    nobody from code that is not trusted.
    """

    @property
    def name(self) -> str:
        """What it is called in the settings: NAME of `[pools.NAME]`."""

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
        callback: Callable[..., object] | None = None,
        error_callback: Callable[..., object] | None = None,
        *,
        connection: Any = None,
        timeout: float | None = None,
    ) -> Result:
        """Have `func(*args, **kwds)` called in the pool.

        One of the callbacks is called on the loop when the task is over. With a connection it is
        called as `callback(connection, value)`, in the order of that connection's tasks, while the
        connection is open; an exception of it counts as one of `on_readable`. Until then an answer
        is to come (`begin_answer`). When the connection has ended its tasks are cancelled.

        Without `error_callback` an error counts as an exception of `callback`. Without both it is
        kept for `get`.

        Args:
            func: a function that can be imported.
            args: its positional arguments.
            kwds: its keyword arguments.
            callback: called with what it has returned.
            error_callback: called with what it has raised, or with a `PoolError`.
            connection: the `host.Connection` whose task it is; connections with tasks take turns.
            timeout: for how many seconds it may wait, and then run; 0 for any time, None for what
                the settings say.

        Raises:
            PoolFullError: too many tasks wait.
            PicklingError: the function or an argument cannot be pickled.
            PoolError: the processes of the pool do not start.
            ValueError: `timeout` is less than 0, or no number.
        """

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[..., object] | None = None,
        error_callback: Callable[..., object] | None = None,
        *,
        connection: Any = None,
        timeout: float | None = None,
    ) -> Result:
        """Have `func(item)` called for each item; the result is the list of what was returned.

        If one of them fails, its error is that of the whole, and those that wait are not begun. The
        callbacks are called, and errors raised, as with `apply_async`.

        Args:
            func: a function that can be imported.
            iterable: the items.
            chunksize: how many items are one task; 1 if left out. More is faster for tiny items,
                and others wait that much longer for their turn.
            callback: called with the list.
            error_callback: called with what one of them has raised, or with a `PoolError`.
            connection: the `host.Connection` whose tasks they are.
            timeout: for how many seconds each task may wait, and then run.
        """

    def apply(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] | None = None,
    ) -> Result:
        """Return what a coroutine awaits: `value = await pool.apply(func, args)`.

        Raises:
            WouldBlockError: no coroutine has called it: the loop would have to wait.
            PoolError: as `apply_async`.
        """

    def map(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> Result:
        """Return what a coroutine awaits: `values = await pool.map(func, items)`.

        Raises:
            WouldBlockError: no coroutine has called it: the loop would have to wait.
            PoolError: as `map_async`.
        """
