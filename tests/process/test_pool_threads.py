"""Pools of threads: tasks are done beside the loop, by as many threads as can be started."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from host import PoolError, TaskTimeoutError
from host.ipc.scoreboard import (
    TASK_RUNS,
    TASK_WAITS,
    TASKS_CANCELLED,
    TASKS_RUNNING,
    TASKS_WAITING,
    TURN_BUCKETS,
    Row,
    bucket_of,
)
from host.offload import threads
from host.offload.pool import Surroundings
from host.offload.threads import ThreadPool
from host.runtime.loop import Loop
from host.settings import PoolSettings
from host.testing.machine import Stopwatch
from support.fakes import Told
from support.pooling import give, nap

pytestmark = pytest.mark.process


class Threads:
    """A pool of threads on a loop, which can be kept from starting more of them.

    Attributes:
        startable: how many threads more can be started.
        counts: the scoreboard's counters by their number.
    """

    def __init__(self, size: int, startable: int) -> None:
        self.startable = startable
        self.loop, self.counts = Loop(), Counter[int]()
        row = Row(self.counts, 0, 0, 0)
        around = Surroundings(self.loop, lambda function: function(), Told().telemetry, 0, row)
        self.pool = ThreadPool("t", PoolSettings(kind="threads", size=size), around)

    def thread(self, **options: Any) -> threading.Thread:
        """Return a thread as Python has it if the system has no more of them."""
        made = threading.Thread(**options)
        if self.startable == 0:
            made.start = self._refuse  # type: ignore[method-assign]
        self.startable -= 1
        return made

    def _refuse(self) -> None:
        self.startable = 0
        raise RuntimeError("can't start new thread")

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Turn the loop until something holds."""
        watch = Stopwatch()
        while not condition():
            assert not watch.has_passed(30.0)
            self.loop.run_once(0.1)


MakeThreads = Callable[[int, int], Threads]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeThreads]:
    made: list[Threads] = []

    def make_threads(size: int, startable: int) -> Threads:
        made.append(Threads(size, startable))
        monkeypatch.setattr(threads, "Thread", made[-1].thread)
        return made[-1]

    yield make_threads
    for each in made:
        each.pool.close()
        each.loop.close()


def test_threads_answer_on_the_loop(make: MakeThreads) -> None:
    made = make(3, 3)
    heard: list[float] = []
    for seconds in (0.2, 0.1, 0.0):
        made.pool.apply_async(nap, (seconds,), callback=heard.append)
    late = made.pool.apply_async(nap, (0.3,), timeout=0.05)
    made.run_until(lambda: not made.pool.is_busy())
    assert heard == [0.0, 0.1, 0.2]
    with pytest.raises(TaskTimeoutError):
        late.get()


def test_without_any_thread_the_caller_is_told_so_and_nobody_else(make: MakeThreads) -> None:
    made = make(2, 0)
    heard: list[object] = []
    for _ in range(3):
        with pytest.raises(PoolError, match="no thread that could do a task: can't start new"):
            made.pool.apply_async(give, (1,), callback=heard.append, error_callback=heard.append)
    assert not made.pool.is_busy()
    made.startable = 2  # and later it can be done
    made.pool.apply_async(give, (2,), callback=heard.append)
    made.run_until(lambda: not made.pool.is_busy())
    made.loop.run_once(0.0)
    assert heard == [2]


def test_threads_that_there_are_do_all_tasks_if_no_more_can_be_started(make: MakeThreads) -> None:
    made = make(4, 1)
    heard: list[object] = []
    go_on = threading.Event()
    made.pool.apply_async(go_on.wait, (30,), callback=heard.append)
    for number in range(5):
        made.pool.apply_async(give, (number,), callback=heard.append)
    given_up = made.pool.apply_async(heard.append, ("what was cancelled before it began",))
    given_up.cancel()
    go_on.set()
    made.run_until(lambda: not made.pool.is_busy())
    assert heard == [True, 0, 1, 2, 3, 4]


def test_threads_end_with_their_pool(make: MakeThreads) -> None:
    made = make(3, 3)
    results = [made.pool.apply_async(threading.current_thread) for _ in range(20)]
    made.run_until(lambda: all(each.ready() for each in results))
    made.pool.close()
    for each in {result.get() for result in results}:
        each.join(30)
        assert not each.is_alive()


def test_what_runs_when_the_pool_ends_is_lost_unless_it_was_cancelled(make: MakeThreads) -> None:
    made = make(2, 2)
    go_on = threading.Event()
    made.pool.apply_async(go_on.wait, (30,)).cancel()
    made.pool.apply_async(go_on.wait, (30,))
    made.pool.apply_async(go_on.wait, (30,))
    made.pool.close()
    go_on.set()
    # A worker that ends so has its row written off: what waits or runs is counted as lost then.
    words = (TASKS_CANCELLED, TASKS_RUNNING, TASKS_WAITING)
    assert [made.counts[word] for word in words] == [1, 1, 1]


def test_it_is_counted_how_long_tasks_wait_and_run(make: MakeThreads) -> None:
    made = make(1, 1)
    for seconds in (0.1, 0.0, 0.0):
        made.pool.apply_async(nap, (seconds,))
    made.pool.apply_async(nap, (0.0,)).cancel()  # it never runs
    made.run_until(lambda: not made.pool.is_busy())
    for first, least in ((TASK_WAITS, 0.2), (TASK_RUNS, 0.1)):
        last = first + TURN_BUCKETS
        assert sum(made.counts[word] for word in range(first, last)) == 3
        assert made.counts[last] >= least * 1e9
        assert sum(made.counts[word] for word in range(first + bucket_of(10**8), last)) >= 1
