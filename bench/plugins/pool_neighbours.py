"""Echoes lines; `compute` is done by the pool that the option names, and then answered."""

from __future__ import annotations

import functools
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from pydantic import BaseModel

from bench.pool_tasks import compute
from host import Connection, Worker, hookimpl

PROCESSES, ROUNDS, TIMER_SECONDS = 1, 100_000, 0.01
"""A task of some milliseconds, and how long a timer takes that stands for one."""
Done = Callable[[int], object]
Begin = Callable[[Connection, Done], object]
"""Has a task done for a connection; what it is given is called with the value, on the loop."""


class PoolOptions(BaseModel):
    """Which pool it is: a name of `BEGIN`."""

    pool: str = "prefork"


class Neighbours:
    """A protocol of lines."""

    Options = PoolOptions

    def __init__(self, options: PoolOptions) -> None:
        self._make = BEGIN[options.pool]

    @hookimpl
    def on_worker_start(self, worker: Worker) -> None:
        """Have the pool made."""
        self._begin = self._make(worker)

    @hookimpl
    def on_accept(self, connection: Connection) -> None:
        """Keep what is no whole line yet."""
        connection.data = b""

    @hookimpl
    def on_readable(self, connection: Connection) -> None:
        """Answer each line."""
        *lines, connection.data = (connection.data + connection.read()).split(b"\n")
        for line in lines:
            if line == b"compute":
                self._begin(connection, functools.partial(_answer, connection))
            else:
                connection.write(line + b"\n")


def _answer(connection: Connection, value: int) -> None:
    connection.write(b"%d\n" % value)


def _prefork(worker: Worker) -> Begin:
    pool = worker.pool()

    def begin(connection: Connection, done: Done) -> None:
        pool.apply_async(
            compute, (ROUNDS,), callback=lambda _, value: done(value), connection=connection
        )

    return begin


def _nobody(_worker: Worker) -> Begin:
    return lambda _, done: done(compute(ROUNDS))


def _timer(worker: Worker) -> Begin:
    """Compute nothing: the answers come as late as from a process, one after the other."""
    due = 0.0

    def begin(_connection: Connection, done: Done) -> None:
        nonlocal due
        now = time.monotonic()
        due = max(due, now) + TIMER_SECONDS
        worker.call_later(due - now, functools.partial(done, 0))

    return begin


def _with_futures(submit: Callable[[], Future[Any]], worker: Worker) -> Begin:
    """Return what brings results to the loop: callbacks of futures are called in a thread."""

    def begin(_connection: Connection, done: Done) -> None:
        def heard(future: Future[Any]) -> None:
            worker.call_from_thread(functools.partial(done, future.result()))

        submit().add_done_callback(heard)

    return begin


def _concurrent_futures(worker: Worker) -> Begin:
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(PROCESSES, mp_context=context)
    return _with_futures(lambda: executor.submit(compute, ROUNDS), worker)


def _loky(worker: Worker) -> Begin:
    from loky import ProcessPoolExecutor as Executor  # noqa: PLC0415

    executor = Executor(PROCESSES)
    return _with_futures(lambda: executor.submit(compute, ROUNDS), worker)


def _pebble(worker: Worker) -> Begin:
    from pebble import ProcessPool as Pool  # noqa: PLC0415

    pool = Pool(PROCESSES, context=multiprocessing.get_context("spawn"))
    return _with_futures(lambda: pool.schedule(compute, args=(ROUNDS,)), worker)


def _multiprocessing(worker: Worker) -> Begin:
    pool = multiprocessing.get_context("spawn").Pool(PROCESSES)

    def begin(_connection: Connection, done: Done) -> None:
        pool.apply_async(
            compute,
            (ROUNDS,),
            callback=lambda value: worker.call_from_thread(functools.partial(done, value)),
        )

    return begin


BEGIN: dict[str, Callable[[Worker], Begin]] = {
    "prefork": _prefork,
    "pebble": _pebble,
    "multiprocessing.Pool": _multiprocessing,
    "concurrent.futures": _concurrent_futures,
    "loky": _loky,
    "none: a timer": _timer,
    "none: the hook itself": _nobody,
}
